package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// keyTTL is the time to live of every test key. It removes the keys if the process is killed with SIGKILL.
const keyTTL = time.Hour

// testKeys creates keys in Redis and remembers them, so that delete can delete them. It is safe for concurrent use.
type testKeys struct {
	mu   sync.Mutex
	sets map[string]keySet // by prefix
}

// A keySet is n keys with numbered names.
type keySet struct {
	n    int
	name func(i int) string
}

// pipelined calls each with 0 to n − 1, in pipelines of at most a thousand calls.
func pipelined(ctx context.Context, rdb redis.UniversalClient, n int, each func(p redis.Pipeliner, i int)) error {
	for from := 0; from < n; from += 1000 {
		p := rdb.Pipeline()
		for i := from; i < min(from+1000, n); i++ {
			each(p, i)
		}
		if _, err := p.Exec(ctx); err != nil {
			return fmt.Errorf("send a pipeline to Redis: %w", err)
		}
	}
	return nil
}

// fill creates the keys of a set, or renews them.
func (k *testKeys) fill(ctx context.Context, rdb redis.UniversalClient, prefix string, set keySet) error {
	k.add(prefix, set)
	return pipelined(ctx, rdb, set.n, func(p redis.Pipeliner, i int) { p.Set(ctx, set.name(i), "v", keyTTL) })
}

// add registers keys that the caller creates.
func (k *testKeys) add(prefix string, set keySet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sets == nil {
		k.sets = make(map[string]keySet)
	}
	k.sets[prefix] = set
}

// delete deletes all registered keys.
func (k *testKeys) delete(ctx context.Context, rdb redis.UniversalClient) (err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, set := range k.sets {
		if e := pipelined(ctx, rdb, set.n, func(p redis.Pipeliner, i int) { p.Unlink(ctx, set.name(i)) }); e != nil {
			err = e
		}
	}
	clear(k.sets)
	return err
}
