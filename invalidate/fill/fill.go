package fill

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cache reads values of one type through Redis. Make one with New for the life of the process; caches of several
// processes work together through Redis. All methods but Wait are safe for concurrent use.
type Cache[V any] struct {
	rdb     redis.UniversalClient
	cfg     Config[V]
	flights flights[V]
	stats   stats
}

// New checks the configuration and returns a cache that has not touched Redis yet. The client stays the caller's, and
// should have ContextTimeoutEnabled: see [Config.RedisTimeout].
func New[V any](rdb redis.UniversalClient, cfg Config[V]) (*Cache[V], error) {
	if rdb == nil {
		return nil, fmt.Errorf("new cache: %w", errClient)
	}
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new cache: %w", err)
	}
	return &Cache[V]{rdb: rdb, cfg: cfg}, nil
}

// Get returns the value of a key: from the cache, or else from load, which it then caches for ttl less the jitter, at
// least 1 ms.
//
// Callers of one process that miss a key at the same time share one load and its value, which none of them may change
// then. The load has the values of the context of the caller that started it, and ends when the contexts of all callers
// have ended. A caller returns at once when its own ends, or after [Config.RedisTimeout] if it is just looking into
// Redis. A panic of load comes out of Get in each caller.
//
// It returns [ErrKey], an error about a ttl under 1 ms, the error of ctx or that of load, which is never cached; compare
// with errors.Is. Redis makes no errors here.
func (c *Cache[V]) Get(ctx context.Context, key string, ttl time.Duration,
	load func(context.Context) (V, error), opts ...Option) (V, error) {
	var none V
	called := time.Now()
	r, err := newRequest(key, ttl, opts)
	if err != nil {
		return none, fmt.Errorf("get cached value: %w", err)
	}
	for first := true; ; first = false {
		r := r
		value, hit := c.look(ctx, &r)
		if err := ctx.Err(); err != nil {
			return none, fmt.Errorf("get %q: %w", key, err)
		}
		if first {
			c.stats.count(hit)
		}
		if hit {
			return value, nil
		}
		out, err := c.flights.join(ctx, r.name(), func(ctx context.Context) outcome[V] { return c.work(ctx, r, load) })
		if err != nil {
			return none, fmt.Errorf("get %q: %w", key, err)
		}
		if p := (*panicError)(nil); errors.As(out.err, &p) {
			panic(p)
		}
		if out.err != nil {
			return none, fmt.Errorf("load %q: %w", key, out.err)
		}
		// A flight that was under way already may have loaded before an invalidation that this caller knows of. The
		// next one starts after the call, so there are two rounds at most.
		if !out.since.Before(called) {
			return out.value, nil
		}
	}
}

// Wait returns when no load is under way. Call it after the last Get has returned and before the Redis client is closed:
// a load whose callers have all left may still be ending.
func (c *Cache[V]) Wait() { c.flights.running.Wait() }

// work is one flight: it takes the token, loads and fills.
func (c *Cache[V]) work(ctx context.Context, r request, load func(context.Context) (V, error)) (out outcome[V]) {
	var token string
	defer func() {
		if cause := recover(); cause != nil {
			out.err = &panicError{cause, debug.Stack()}
			c.report(ctx, out.err)
		}
		if token != "" {
			c.release(ctx, r, token)
		}
	}()
	if !r.down {
		var hit *outcome[V]
		if hit, token = c.claim(ctx, r); hit != nil {
			return *hit
		}
	}
	if token != "" && !c.index(ctx, r) {
		c.release(ctx, r, token)
		token = ""
	}
	if err := ctx.Err(); err != nil {
		return outcome[V]{err: err}
	}
	out.since = time.Now()
	c.stats.loads.Add(1)
	out.value, out.err = load(ctx)
	if out.err != nil || token == "" {
		return out
	}
	text, err := c.cfg.Codec.Encode(out.value)
	if err != nil {
		c.report(ctx, fmt.Errorf("encode %q: %w", r.key, err))
		return out
	}
	filling := time.Now()
	if c.fill(ctx, r, token, text) {
		out.since = filling // the token was there, so nothing was invalidated since the load began
	}
	token = ""
	return out
}

// look reads the value, and before the load the stamps it depends on.
func (c *Cache[V]) look(ctx context.Context, r *request) (value V, hit bool) {
	text, found, err := c.read(ctx, r)
	if err != nil {
		r.down = true
		c.report(ctx, fmt.Errorf("look for %q: %w", r.key, err))
	}
	if !found {
		return value, false
	}
	value, valid, err := c.decode(ctx, *r, text)
	r.down = err != nil
	return value, valid
}

// decode returns the value of a valid text. One that the codec cannot read is deleted: it counts as missing. The error
// is that of Redis, and reported.
func (c *Cache[V]) decode(ctx context.Context, r request, text []byte) (value V, valid bool, err error) {
	value, err = c.cfg.Codec.Decode(text[len(r.header):])
	if err == nil {
		return value, true, nil
	}
	c.report(ctx, fmt.Errorf("decode %q: %w", r.key, err))
	bound, cancel := c.bound(ctx)
	defer cancel()
	if err := c.rdb.Unlink(bound, r.key).Err(); err != nil {
		err = fmt.Errorf("unlink %q: %w", r.key, err)
		c.report(ctx, err)
		return value, false, err
	}
	return value, false, nil
}

// bound limits a step in Redis.
func (c *Cache[V]) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.RedisTimeout)
}

// report tells of an error, unless it is there because nobody waits any more.
func (c *Cache[V]) report(ctx context.Context, err error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return
	}
	c.stats.errors.Add(1)
	c.cfg.OnError(err)
}

// A panicError carries a panic from the goroutine of a flight to its callers.
type panicError struct {
	cause any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic in load: %v\n\n%s", p.cause, p.stack) }

func (p *panicError) Unwrap() error {
	err, _ := p.cause.(error)
	return err
}
