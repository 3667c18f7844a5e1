package fill_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

func ExampleCache_Get() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379", ContextTimeoutEnabled: true})
	defer rdb.Close()
	users, err := fill.New(rdb, fill.Config[user]{})
	if err != nil {
		log.Fatal(err)
	}
	defer users.Wait()
	ada, err := users.Get(context.Background(), "user:42:profile", 5*time.Minute,
		func(context.Context) (user, error) {
			return user{Name: "Ada"}, nil // SELECT … WHERE id = 42
		},
		fill.Tags("group:users"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ada.Name)
}
