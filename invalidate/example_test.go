package invalidate_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// A service that embeds an invalidator. The relay has published that user 42 was updated, so the invalidator deletes the
// cached profile of that user. A service would end ctx on SIGTERM; this one does so after the first batch.
func Example() {
	js, rdb, closeAll := connect()
	defer closeAll()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	set, err := rules.Parse("rules.yaml", []byte(`
rules:
  - subject: users.*.updated
    keys: ["user:$1:profile", "user:$1:orders"]
`))
	if err != nil {
		log.Fatal(err)
	}
	v, err := invalidate.New(js, rdb, invalidate.Config{
		Stream: "OUTBOX",
		Rules:  set,
		Echo:   []time.Duration{5 * time.Second}, // the slowest reader, plus the lag of the replica that it reads
		Logger: slog.Default(),                   // outages and poison events
		Observe: func(done invalidate.Done) {
			fmt.Printf("%s: %d of %d keys existed\n", done.Consumer, done.Deleted, done.Keys)
			stop()
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	rdb.Set(ctx, "user:42:profile", "Ada", time.Hour)
	publish(js, "users.42.updated", `{}`)
	if err := v.Run(ctx); err != nil { // returns nil after it has finished the messages in hand
		log.Fatal(err)
	}
	fmt.Println("cached profiles:", rdb.Exists(context.Background(), "user:42:profile").Val())
	// Output:
	// invalidate-now: 1 of 2 keys existed
	// cached profiles: 0
}

// A service that must read its own write calls Now after the commit. The event deletes the same key again, so an error
// needs no handling.
func ExampleNow() {
	_, rdb, closeAll := connect()
	defer closeAll()
	rdb.Set(context.Background(), "user:42:profile", "Ada", time.Hour)

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := invalidate.Now(ctx, rdb, "user:42:profile"); err != nil {
		log.Print(err)
	}
	fmt.Println("cached profiles:", rdb.Exists(context.Background(), "user:42:profile").Val())
	// Output:
	// cached profiles: 0
}

// A sweep, run once a day, removes the members of tags whose values have expired.
func ExampleSweep_Run() {
	_, rdb, closeAll := connect()
	defer closeAll()
	ctx := context.Background()
	rdb.Set(ctx, "user:42:profile", "Ada", time.Hour)
	rdb.ZAdd(ctx, "tag:team:7",
		redis.Z{Member: "user:42:profile", Score: float64(time.Now().Add(61 * time.Minute).Unix())},
		redis.Z{Member: "user:43:profile", Score: float64(time.Now().Add(-time.Minute).Unix())}) // has expired

	swept, err := invalidate.Sweep{Redis: rdb, Match: []string{"tag:team:*"}}.Run(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("removed %d of %d members\n", swept.Removed, swept.Members)
	// Output:
	// removed 1 of 2 members
}
