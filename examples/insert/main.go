// Command insert is a service in one transaction: it changes a row and inserts the event beside it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func main() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	var ids []uuid.UUID
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS users (id int PRIMARY KEY, name text)"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO users VALUES (42, 'Ada') ON CONFLICT (id) DO UPDATE SET name = 'Ada'"); err != nil {
			return err
		}
		var err error
		ids, err = outbox.Insert(ctx, tx, event.Event{Subject: "users.42.updated", Key: "42", Payload: []byte(`{"id": 42, "name": "Ada"}`)})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("inserted", ids)
}
