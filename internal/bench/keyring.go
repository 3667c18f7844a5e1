package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// keyLife is the time to live of every key that is made: what removes them after kill -9.
const keyLife = time.Hour

// A keyring makes keys in Redis and knows which it made. Safe for concurrent use.
type keyring struct {
	mu   sync.Mutex
	sets map[string]keySet // by prefix
}

// A keySet is n keys, named by their numbers.
type keySet struct {
	n    int
	name func(i int) string
}

// pipelined calls each for 0 to n − 1 on pipelines of a thousand commands.
func pipelined(ctx context.Context, rdb redis.UniversalClient, n int, each func(p redis.Pipeliner, i int)) error {
	for from := 0; from < n; from += 1000 {
		p := rdb.Pipeline()
		for i := from; i < min(from+1000, n); i++ {
			each(p, i)
		}
		if _, err := p.Exec(ctx); err != nil {
			return fmt.Errorf("pipeline to redis: %w", err)
		}
	}
	return nil
}

// fill makes sure that keys exist.
func (r *keyring) fill(ctx context.Context, rdb redis.UniversalClient, prefix string, set keySet) error {
	r.add(prefix, set)
	return pipelined(ctx, rdb, set.n, func(p redis.Pipeliner, i int) { p.Set(ctx, set.name(i), "v", keyLife) })
}

// add has drop delete keys that somebody else makes.
func (r *keyring) add(prefix string, set keySet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sets == nil {
		r.sets = make(map[string]keySet)
	}
	r.sets[prefix] = set
}

// drop deletes whatever is left.
func (r *keyring) drop(ctx context.Context, rdb redis.UniversalClient) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, set := range r.sets {
		if e := pipelined(ctx, rdb, set.n, func(p redis.Pipeliner, i int) { p.Unlink(ctx, set.name(i)) }); e != nil {
			err = e
		}
	}
	clear(r.sets)
	return err
}
