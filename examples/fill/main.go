// Command fill is a service that reads: a hundred requests at once miss one key of Redis, and one of them loads.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

type user struct {
	Name string `json:"name"`
}

// load stands for a SELECT.
func load(context.Context) (user, error) {
	time.Sleep(50 * time.Millisecond)
	return user{Name: "Ada"}, nil
}

func main() {
	ctx := context.Background()
	opts, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		log.Fatal(err)
	}
	opts.ContextTimeoutEnabled = true
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	users, err := fill.New(rdb, fill.Config[user]{OnError: func(err error) { log.Print(err) }})
	if err != nil {
		log.Fatal(err)
	}
	if err := users.Drop(ctx, "user:42:profile"); err != nil { // as a writer does after its commit
		log.Print(err)
	}
	var requests sync.WaitGroup
	for range 100 {
		requests.Go(func() {
			if _, err := users.Get(ctx, "user:42:profile", 5*time.Minute, load, fill.Tags("group:users")); err != nil {
				log.Print(err)
			}
		})
	}
	requests.Wait()
	fmt.Printf("%+v\n", users.Stats())
}
