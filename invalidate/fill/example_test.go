package fill_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// User is the value that the examples cache.
type User struct {
	Name string `json:"name"`
}

// selectUser stands for SELECT name FROM users WHERE id = $1.
func selectUser(_ context.Context, id int) (User, error) {
	fmt.Println("SELECT user", id)
	return User{Name: "Ada"}, nil
}

// A cache-aside read: Get returns the cached value, or loads it and caches it for at most five minutes.
func ExampleCache_Get() {
	opts, err := redis.ParseURL(redisURL())
	if err != nil {
		log.Fatal(err)
	}
	opts.ContextTimeoutEnabled = true // so that Config.RedisTimeout bounds the wait for a reply
	rdb := redis.NewClient(opts)
	defer rdb.Close()

	users, err := fill.New(rdb, fill.Config[User]{})
	if err != nil {
		log.Fatal(err)
	}
	defer users.Wait() // before the client is closed

	for range 2 {
		user, err := users.Get(context.Background(), "user:42:profile", 5*time.Minute,
			func(ctx context.Context) (User, error) { return selectUser(ctx, 42) })
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(user.Name)
	}
	// Output:
	// SELECT user 42
	// Ada
	// Ada
}

// A writer calls Drop after its commit if it must read its own change at once. Otherwise the event deletes the key.
func ExampleCache_Drop() {
	rdb := newClient()
	defer rdb.Close()
	users, err := fill.New(rdb, fill.Config[User]{})
	if err != nil {
		log.Fatal(err)
	}
	defer users.Wait()

	ctx := context.Background()
	read := func() {
		_, err := users.Get(ctx, "user:42:profile", 5*time.Minute,
			func(ctx context.Context) (User, error) { return selectUser(ctx, 42) })
		if err != nil {
			log.Fatal(err)
		}
	}

	read()
	// BEGIN; UPDATE users …; INSERT INTO outbox …; COMMIT
	if err := users.Drop(ctx, "user:42:profile"); err != nil {
		log.Print(err) // the event deletes the key, a little later
	}
	read()
	// Output:
	// SELECT user 42
	// SELECT user 42
}

// A page that lists several users depends on all of them: its key becomes a member of an index, and a rule that names the
// index under tags deletes all its members.
func ExampleTags() {
	rdb := newClient()
	defer rdb.Close()
	pages, err := fill.New(rdb, fill.Config[string]{Codec: fill.Raw[string]{}})
	if err != nil {
		log.Fatal(err)
	}
	defer pages.Wait()

	ctx := context.Background()
	for _, key := range []string{"users:page:1", "users:page:2"} {
		_, err := pages.Get(ctx, key, 5*time.Minute,
			func(context.Context) (string, error) { return "<html>…</html>", nil },
			fill.Tags("group:users"))
		if err != nil {
			log.Fatal(err)
		}
	}

	// For the rule {subject: "users.*.updated", tags: ["group:users"]} the invalidator deletes these keys.
	fmt.Println(rdb.ZRange(ctx, "group:users", 0, -1).Val())
	// Output: [users:page:1 users:page:2]
}

// A stamp invalidates any number of values with one UNLINK: name it under keys in a rule.
func ExampleStamps() {
	rdb := newClient()
	defer rdb.Close()
	prices, err := fill.New(rdb, fill.Config[string]{Codec: fill.Raw[string]{}})
	if err != nil {
		log.Fatal(err)
	}
	defer prices.Wait()

	ctx := context.Background()
	read := func(price string) {
		got, err := prices.Get(ctx, "price:42", time.Hour,
			func(context.Context) (string, error) { return price, nil },
			fill.Stamps("catalog"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(got)
	}

	read("10.00")
	read("12.00") // cached
	rdb.Unlink(ctx, "catalog")
	read("12.00")
	// Output:
	// 10.00
	// 10.00
	// 12.00
}

// While Redis is down Get loads the value and returns no error. OnError receives the error of Redis.
func ExampleConfig_onError() {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // nothing listens there
	defer rdb.Close()
	users, err := fill.New(rdb, fill.Config[User]{
		OnError: func(error) { fmt.Println("Redis is down") },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer users.Wait()

	user, err := users.Get(context.Background(), "user:42:profile", 5*time.Minute,
		func(ctx context.Context) (User, error) { return selectUser(ctx, 42) })
	fmt.Println(user.Name, err)
	// Output:
	// Redis is down
	// SELECT user 42
	// Ada <nil>
}

// newClient returns a client as in the example of Cache.Get.
func newClient() *redis.Client {
	opts, err := redis.ParseURL(redisURL())
	if err != nil {
		log.Fatal(err)
	}
	opts.ContextTimeoutEnabled = true
	return redis.NewClient(opts)
}
