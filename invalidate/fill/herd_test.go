package fill_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// awaitWaits waits until at least n flights of the caches have waited for another process.
func awaitWaits(t testing.TB, n int64, caches ...*texts) {
	t.Helper()
	devtest.Eventually(t, 30*time.Second, "waiting readers", func() error {
		var waits int64
		for _, c := range caches {
			waits += c.Stats().Waits
		}
		if waits < n {
			return fmt.Errorf("%d of %d", waits, n)
		}
		return nil
	})
}

// 200 readers of 50 processes miss one key: one of them loads while all others wait. The test logs how many plain readers
// (GET, SELECT, SETEX) load in the same situation.
func TestHerd(t *testing.T) {
	t.Parallel()
	const readers, processes = 200, 50
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	caches := make([]*texts, processes)
	for i := range caches {
		caches[i] = newTexts(t, rdb, fill.Config[string]{WaitMax: time.Minute})
	}
	var loads atomic.Int64
	s := newStall(t)
	load := func(context.Context) (string, error) {
		loads.Add(1)
		<-s.proceed
		return "v", nil
	}
	results := make([]<-chan result, readers)
	for i := range results {
		results[i] = get(t.Context(), caches[i%processes], key, load)
	}
	awaitWaits(t, processes-1, caches...)
	devtest.Eventually(t, 30*time.Second, "all readers", func() error {
		callers := 0
		for _, c := range caches {
			callers += c.Callers(key)
		}
		if callers < readers {
			return fmt.Errorf("%d of %d callers", callers, readers)
		}
		return nil
	})
	s.end()
	for _, r := range results {
		want(t, <-r, "v")
	}
	if loads.Load() != 1 {
		t.Errorf("%d loads, want 1", loads.Load())
	}
	t.Logf("%d readers of one evicted key: 1 load with tokens, %d with GET, SELECT of 5 ms, SETEX", readers, plainHerd(t, rdb, key+":plain", readers))
}

func plainHerd(t testing.TB, rdb *redis.Client, key string, readers int) int64 {
	var loads atomic.Int64
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			if rdb.Get(t.Context(), key).Err() == nil {
				return
			}
			loads.Add(1)
			<-time.After(5 * time.Millisecond) // the SELECT
			if err := rdb.Set(t.Context(), key, "v", ttl).Err(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if loads.Load() < 2 {
		t.Error("only one plain reader loaded, so this test cannot detect a herd")
	}
	return loads.Load()
}
