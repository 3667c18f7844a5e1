package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// A service changes a row and inserts the event about it in one transaction. If the transaction commits, the relay
// publishes the event; if it rolls back, the event never existed.
func ExampleInsert() {
	pool, done := exampleDatabase()
	defer done()
	ctx := context.Background()

	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE users SET name = 'Ada' WHERE id = 42"); err != nil {
			return err
		}
		_, err := outbox.Insert(ctx, tx, outbox.Event{
			Subject: "users.42.updated",
			Key:     "42", // events of one key are published in the order of their commits
			Payload: []byte(`{"id": 42, "name": "Ada"}`),
		})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pending(pool))
	// Output:
	// users.42.updated {"id": 42, "name": "Ada"}
}

// InsertSQL is for database/sql and the libraries on it. They give access to their *sql.Tx:
//
//	outbox.InsertSQL(ctx, tx.Tx, e)                            // sqlx, bun: tx embeds it
//	outbox.InsertSQL(ctx, tx.Statement.ConnPool.(*sql.Tx), e)  // gorm, in db.Transaction(func(tx *gorm.DB) error { … })
func ExampleInsertSQL() {
	pool, done := exampleDatabase()
	defer done()
	db := stdlib.OpenDBFromPool(pool) // or sql.Open with any driver for PostgreSQL
	defer db.Close()                  //nolint:errcheck // the example ends
	ctx := context.Background()

	rename := func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE users SET name = 'Ada' WHERE id = 42"); err != nil {
			return err
		}
		_, err := outbox.InsertSQL(ctx, tx, outbox.Event{Subject: "users.42.updated", Key: "42", Payload: []byte(`{"id": 42}`)})
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after the commit
	if err := rename(tx); err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(pending(pool))
	// Output:
	// users.42.updated {"id": 42}
}

// A value can contain dots, spaces and wildcards, which a subject must not. Token makes it one token.
func ExampleToken() {
	fmt.Println("mail." + outbox.Token("ada@example.com") + ".changed")
	// Output:
	// mail.ada%40example%2Ecom.changed
}

// Capture triggers insert an event for each change of a table, whichever program makes the change.
func ExampleTable_Attach() {
	pool, done := exampleDatabase()
	defer done()
	ctx := context.Background()

	table, err := outbox.In(outbox.DefaultSchema)
	if err != nil {
		log.Fatal(err)
	}
	_, err = table.Attach(ctx, pool, outbox.Attachment{
		Table:   "users",
		Subject: "users.{id}.{op}",
		Columns: []string{"id", "name"},
	}, time.Second)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := pool.Exec(ctx, "UPDATE users SET name = 'Ada' WHERE id = 42"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(pending(pool))
	// Output:
	// users.42.updated {"id": 42, "name": "Ada"}
}

// Every instance of a service can migrate when it starts: one of them applies each migration.
func ExampleTable_Migrate() {
	pool, done := exampleDatabase()
	defer done()
	ctx := context.Background()

	table, err := outbox.In("billing_outbox")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := table.Migrate(ctx, pool); err != nil {
		log.Fatal(err)
	}
	fmt.Println(table.CheckMigrated(ctx, pool))
	// Output:
	// <nil>
}
