package local_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/local"
)

// The instance receives an event before the shared cache is clean, and a reader loads the old value from there again. The
// second eviction removes it.
func TestReadThroughRace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var mu sync.Mutex
	shared := "old" // the value in Redis; its invalidators are slower than this instance
	load := otter.LoaderFunc[string, string](func(context.Context, string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return shared, nil
	})
	cache := otter.Must(&otter.Options[string, string]{MaximumSize: 100, ExpiryCalculator: otter.ExpiryWriting[string, string](time.Hour)})
	t.Cleanup(func() { cache.StopAllGoroutines() })
	read := func() string {
		value, err := cache.Get(context.Background(), "user:0", load)
		if err != nil {
			t.Error(err)
		}
		return value
	}

	var reread string // what a reader gets directly after the first eviction
	cfg := r.config()
	cfg.Flush = cache.InvalidateAll
	cfg.Evict = func(key string) {
		cache.Invalidate(key)
		if reread == "" {
			reread = read()
			mu.Lock()
			shared = "new" // the invalidator has deleted the key, and a reader has loaded it
			mu.Unlock()
		}
	}
	e, stop := r.start(r.js, cfg)
	r.until(e, "both flushes of the start", func(s local.Stats) bool { return s.Flushes == 2 })
	if value := read(); value != "old" {
		t.Errorf("the reader got %q", value)
	}
	r.publish(0, 1)
	devtest.Eventually(t, patience, "the new value", func() error {
		if value := read(); value != "new" {
			return fmt.Errorf("the cache has %q", value)
		}
		return nil
	})
	stop()
	if reread != "old" {
		t.Errorf("the reader got %q", reread)
	}
}
