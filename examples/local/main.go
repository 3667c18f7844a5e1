// Command local is an API instance with two caches: otter in this process before Redis, and package local to evict from
// the first what an event made stale. Redis itself is cleaned by the invalidators, outbox invalidate.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/local"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// The rules are those of the invalidators. An event users.42.updated makes the key user:42 stale, in both caches.
const ruleText = `
rules:
  - subject: users.*.updated
    keys: ["user:$1"]
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	options, err := redis.ParseURL(cmp.Or(os.Getenv("REDIS_URL"), "redis://127.0.0.1:6379"))
	if err != nil {
		return err
	}
	rdb := redis.NewClient(options)
	defer rdb.Close() //nolint:errcheck // the process ends
	nc, err := nats.Connect(os.Getenv("NATS_URL"), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}

	// A time to live is the last backstop: it bounds what nothing else does, such as an invalidator that is down.
	cache := otter.Must(&otter.Options[string, string]{
		MaximumSize:      10_000,
		ExpiryCalculator: otter.ExpiryWriting[string, string](time.Minute),
	})

	set, err := rules.Parse("rules.yaml", []byte(ruleText))
	if err != nil {
		return err
	}
	evictor, err := local.New(js, local.Config{
		Stream: "OUTBOX",
		Rules:  set,
		Evict:  func(key string) { cache.Invalidate(key) }, // a load of this key that is under way is dropped too
		Flush:  cache.InvalidateAll,                        // not so here; the second flush removes what it missed
		Logger: slog.Default(),
	})
	if err != nil {
		return err
	}

	// Get loads a value once however many ask for it. While the evictor is not healthy, the cache may be older than it
	// promises: then this asks Redis. An API that can bear 16 s (see package local) leaves that out.
	load := otter.LoaderFunc[string, string](func(ctx context.Context, key string) (string, error) {
		value, err := rdb.Get(ctx, key).Result()
		if errors.Is(err, redis.Nil) {
			return "", otter.ErrNotFound // here an application reads its database and fills Redis, see package fill
		}
		return value, err
	})
	get := func(ctx context.Context, key string) (string, error) {
		if evictor.Healthy() {
			return cache.Get(ctx, key, load)
		}
		return load(ctx, key)
	}
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := get(r.Context(), "user:"+r.URL.Query().Get("id"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		fmt.Fprintln(w, value) //nolint:errcheck // the client went away
	})}
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Print(err)
		}
	}()
	defer server.Close() //nolint:errcheck // the process ends

	return evictor.Run(ctx) // blocks until Ctrl-C
}
