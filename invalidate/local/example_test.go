package local_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/seed-6eff6314/outbox-relay/invalidate/local"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// A Names caches the names of users in a map. An evictor calls Evict and Flush; readers call Get and Set.
type Names struct {
	mu     sync.RWMutex
	values map[string]string
}

func (n *Names) Get(key string) (name string, ok bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	name, ok = n.values[key]
	return name, ok
}

func (n *Names) Set(key, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.values[key] = name
}

func (n *Names) Evict(key string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.values, key)
}

func (n *Names) Flush() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.values = make(map[string]string)
}

// A map with a mutex is a cache: pass its methods to the evictor.
func Example() {
	js, publish := exampleStream() // a JetStream client, and what the relay does after a commit
	defer js.Conn().Close()
	set, err := rules.Parse("rules.yaml", []byte(`
rules:
  - subject: users.*.updated
    keys: ["user:$1"]
`))
	if err != nil {
		log.Fatal(err)
	}

	var names Names
	started, evicted := make(chan bool, 1), make(chan string, 1)
	evictor, err := local.New(js, local.Config{
		Stream: "OUTBOX",
		Rules:  set,
		Evict:  func(key string) { names.Evict(key); evicted <- key },
		Flush:  func() { names.Flush(); started <- true }, // first at the start, when the evictor has its consumer
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- evictor.Run(ctx) }()

	<-started
	names.Set("user:42", "Ada")
	publish("users.42.updated")
	fmt.Println("evicted", <-evicted)
	_, ok := names.Get("user:42")
	fmt.Println("still cached:", ok)

	cancel()
	fmt.Println(<-done)
	// Output:
	// evicted user:42
	// still cached: false
	// <nil>
}

// An LRU such as otter fits without an adapter. Give every value a time to live, the last resort for what events cannot
// cover. Invalidate discards a running load of the key too.
func ExampleConfig_lru() {
	js, publish := exampleStream()
	defer js.Conn().Close()
	set, err := rules.Parse("rules.yaml", []byte(`rules: [{subject: "users.*.updated", keys: ["user:$1"]}]`))
	if err != nil {
		log.Fatal(err)
	}
	cache := otter.Must(&otter.Options[string, string]{
		MaximumSize:      10_000,
		ExpiryCalculator: otter.ExpiryWriting[string, string](time.Minute),
		OnDeletion: func(e otter.DeletionEvent[string, string]) {
			fmt.Println(e.Cause, e.Key)
		},
		Executor: func(fn func()) { fn() },
	})
	defer cache.StopAllGoroutines()

	started, evicted := make(chan bool, 1), make(chan bool, 1)
	evictor, err := local.New(js, local.Config{
		Stream: "OUTBOX",
		Rules:  set,
		Evict:  func(key string) { cache.Invalidate(key); evicted <- true },
		Flush:  func() { cache.InvalidateAll(); started <- true },
	})
	if err != nil {
		log.Fatal(err)
	}
	stop := run(evictor) // as in the example of the package

	<-started
	cache.Set("user:42", "Ada")
	publish("users.42.updated")
	<-evicted
	fmt.Println(stop())
	// Output:
	// Invalidation user:42
	// <nil>
}

// EvictTag removes the values of a tag. Without it, each tag flushes the cache.
func ExampleConfig_evictTag() {
	js, publish := exampleStream()
	defer js.Conn().Close()
	set, err := rules.Parse("rules.yaml", []byte(`rules: [{subject: "teams.*.renamed", tags: ["team:$1"]}]`))
	if err != nil {
		log.Fatal(err)
	}
	members := map[string][]string{"team:7": {"user:42", "user:43"}} // the keys that a reader cached under a tag
	started, evicted := make(chan bool, 1), make(chan []string, 1)
	evictor, err := local.New(js, local.Config{
		Stream:   "OUTBOX",
		Rules:    set,
		Evict:    func(string) {},
		EvictTag: func(tag string) { evicted <- members[tag] },
		Flush:    func() { started <- true },
	})
	if err != nil {
		log.Fatal(err)
	}
	stop := run(evictor) // as in the example of the package

	<-started
	publish("teams.7.renamed")
	fmt.Println(<-evicted)
	fmt.Println(stop())
	// Output:
	// [user:42 user:43]
	// <nil>
}

// A reader that must not get a value older than the bound bypasses the cache while the evictor is not healthy: before Run
// has its consumer, and while NATS is down.
func ExampleEvictor_Healthy() {
	js, _ := exampleStream()
	defer js.Conn().Close()
	set, err := rules.Parse("rules.yaml", []byte(`rules: [{subject: "users.*.updated", keys: ["user:$1"]}]`))
	if err != nil {
		log.Fatal(err)
	}
	names := Names{values: map[string]string{"user:42": "Ada"}}
	evictor, err := local.New(js, local.Config{Stream: "OUTBOX", Rules: set, Evict: names.Evict, Flush: names.Flush})
	if err != nil {
		log.Fatal(err)
	}

	read := func(key string) string {
		if evictor.Healthy() {
			if name, ok := names.Get(key); ok {
				return name + " from the cache"
			}
		}
		return "Ada Lovelace from the database"
	}
	fmt.Println(read("user:42")) // Run is not running
	// Output: Ada Lovelace from the database
}
