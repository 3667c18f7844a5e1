package fill

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cache reads values of one type through Redis. Create one with New and use it for the life of the process. The caches of
// several processes coordinate through Redis. All methods except Wait are safe for concurrent use.
type Cache[V any] struct {
	rdb     redis.UniversalClient
	cfg     Config[V]
	flights flights[V]
	stats   stats
}

// New returns a cache, or an error if rdb is nil or a field of cfg is out of range. It does not contact Redis. The caller
// keeps ownership of the client, and should set its ContextTimeoutEnabled: see [Config.RedisTimeout].
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

// Get returns the value of a key from the cache. If the cache does not have it, Get calls load and caches the result for
// ttl less the jitter, at least 1 ms.
//
// Callers in one process that miss a key at the same time share one load and its value; none of them may modify the value
// then. The context of the load has the values of the context of the caller that started it, and is canceled when the
// contexts of all its callers have ended. A caller whose own context ends returns at once, except during its first step
// in Redis, which can take until [Config.RedisTimeout]. If load panics, Get panics in each caller.
//
// Get returns [ErrKey] for an unusable key, tag or stamp, an error for a ttl below 1 ms, the error of ctx, or the error of
// load, which is never cached. Compare them with errors.Is. Get returns no error of Redis.
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
		value, hit := c.lookup(ctx, &r)
		if err := ctx.Err(); err != nil {
			return none, fmt.Errorf("get %q: %w", key, err)
		}
		if first {
			c.stats.count(hit)
		}
		if hit {
			return value, nil
		}
		out, err := c.flights.join(ctx, r.name(), func(ctx context.Context) outcome[V] { return c.loadAndFill(ctx, r, load) })
		if err != nil {
			return none, fmt.Errorf("get %q: %w", key, err)
		}
		if p := (*panicError)(nil); errors.As(out.err, &p) {
			panic(p)
		}
		if out.err != nil {
			return none, fmt.Errorf("load %q: %w", key, out.err)
		}
		// A flight that began before this call may have loaded before an invalidation that the caller knows of. The next
		// flight begins after the call, so there are at most two rounds.
		if !out.since.Before(called) {
			return out.value, nil
		}
	}
}

// Wait blocks until no load is running. Call it after the last Get has returned and before the Redis client is closed: a
// load outlives its callers when their contexts have ended.
func (c *Cache[V]) Wait() { c.flights.running.Wait() }

// loadAndFill is one flight: it takes the token, loads the value and fills the cache.
func (c *Cache[V]) loadAndFill(ctx context.Context, r request, load func(context.Context) (V, error)) (out outcome[V]) {
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
		out.since = filling // the token still existed, so no invalidation came after the load began
	}
	token = ""
	return out
}

// lookup reads the cached value, and the stamps that it depends on before any load.
func (c *Cache[V]) lookup(ctx context.Context, r *request) (value V, hit bool) {
	text, found, err := c.read(ctx, r)
	if err != nil {
		r.down = true
		c.report(ctx, fmt.Errorf("read %q from Redis: %w", r.key, err))
	}
	if !found {
		return value, false
	}
	value, valid, err := c.decode(ctx, *r, text)
	r.down = err != nil
	return value, valid
}

// decode returns the value of a cached text. It deletes a text that the codec cannot decode, which then counts as missing.
// The error is that of the deletion; decode has already reported it.
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

// bound limits one step in Redis to RedisTimeout.
func (c *Cache[V]) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.RedisTimeout)
}

// report passes an error to OnError, unless its only cause is that all callers have left.
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

// Unwrap returns the cause of the panic if that is an error, otherwise nil.
func (p *panicError) Unwrap() error {
	err, _ := p.cause.(error)
	return err
}
