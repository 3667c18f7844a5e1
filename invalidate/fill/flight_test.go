package fill_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

func awaitCallers(t testing.TB, c *texts, key string, n int) {
	t.Helper()
	devtest.Eventually(t, 30*time.Second, "callers of one load", func() error {
		if got := c.Callers(key); got != n {
			return fmt.Errorf("%d callers, want %d", got, n)
		}
		return nil
	})
}

// The caller that started the load leaves at once when its context ends; the other caller gets the value.
func TestCancelOneCaller(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	c, s := newTexts(t, rdb, fill.Config[string]{}), newStall(t)
	ctx, cancel := context.WithCancel(t.Context())
	load := func(ctx context.Context) (string, error) {
		text, err := s.of(new(row).load)(ctx)
		return text, errors.Join(err, ctx.Err())
	}
	first := get(ctx, c, key, load)
	<-s.read
	second := get(t.Context(), c, key, load)
	awaitCallers(t, c, key, 2)
	cancel()
	if r := <-first; !errors.Is(r.err, context.Canceled) {
		t.Errorf("got %q, %v", r.text, r.err)
	}
	s.end()
	want(t, <-second, "v0")
	if s := c.Stats(); s.Loads != 1 || s.Fills != 1 {
		t.Errorf("%+v", s)
	}
}

// A load that no caller waits for any more is canceled, and its token is released.
func TestCancelAllCallers(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	c := newTexts(t, rdb, fill.Config[string]{})
	ctx, cancel := context.WithCancel(t.Context())
	loading := make(chan struct{}, 2)
	load := func(ctx context.Context) (string, error) {
		loading <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	}
	first, second := get(ctx, c, key, load), get(ctx, c, key, load)
	<-loading
	awaitCallers(t, c, key, 2)
	cancel()
	for _, r := range []result{<-first, <-second} {
		if !errors.Is(r.err, context.Canceled) {
			t.Error(r.err)
		}
	}
	c.Wait()
	if n := rdb.Exists(t.Context(), key, tokenOf(key)).Val(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}

// A caller whose context ends while it waits for another process returns.
func TestCancelWaiter(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	c := newTexts(t, rdb, fill.Config[string]{WaitMax: time.Hour})
	fatal(t, rdb.Set(t.Context(), tokenOf(key), "another", time.Hour).Err())
	ctx, cancel := context.WithCancel(t.Context())
	waiter := get(ctx, c, key, func(context.Context) (string, error) { return "", errors.New("loaded") })
	awaitWaits(t, 1, c)
	cancel()
	if r := <-waiter; !errors.Is(r.err, context.Canceled) {
		t.Error(r.err)
	}
	c.Wait()
	if s := c.Stats(); s.Loads != 0 {
		t.Errorf("%+v", s)
	}
}

func TestEndedContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newTexts(t, devtest.RedisClient(t), fill.Config[string]{})
	if _, err := c.Get(ctx, devtest.Prefix(t)+"k", ttl, new(row).load); !errors.Is(err, context.Canceled) || c.Stats() != (fill.Stats{}) {
		t.Errorf("%v, %+v", err, c.Stats())
	}
}

// A caller that joins a load does not get its value if an invalidation came after that load began.
func TestJoinedTooEarly(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	c, s, users := newTexts(t, rdb, fill.Config[string]{}), newStall(t), new(row)
	first := get(t.Context(), c, key, s.of(users.load))
	<-s.read
	before := get(t.Context(), c, key, users.load) // joins before the invalidation, but after the load began
	awaitCallers(t, c, key, 2)
	users.version.Add(1)
	fatal(t, c.Drop(t.Context(), key))
	after := get(t.Context(), c, key, users.load)
	awaitCallers(t, c, key, 3)
	s.end()
	want(t, <-first, "v0")
	want(t, <-before, "v1")
	want(t, <-after, "v1")
	if text := cached(t, rdb, key); text != "v1" {
		t.Errorf("cached %q", text)
	}
}

// Callers of one load share its value if Redis accepts the fill, and none of them reads the cache again.
func TestShared(t *testing.T) {
	t.Parallel()
	key := devtest.Prefix(t) + "k"
	rdb, tp := tapped(t)
	var reads atomic.Int64
	tp.on(func(step string, _ []redis.Cmder) {
		if step == "get" {
			reads.Add(1)
		}
	})
	c, s, users := newTexts(t, rdb, fill.Config[string]{}), newStall(t), new(row)
	first := get(t.Context(), c, key, s.of(users.load))
	<-s.read
	second := get(t.Context(), c, key, users.load)
	awaitCallers(t, c, key, 2)
	s.end()
	want(t, <-first, "v0")
	want(t, <-second, "v0")
	if s := c.Stats(); s != (fill.Stats{Misses: 2, Loads: 1, Fills: 1}) || reads.Load() != 2 {
		t.Errorf("%+v, %d reads", s, reads.Load())
	}
}

// A load that ends its goroutine, as t.FailNow does, leaves no waiting caller and no token.
func TestGoexit(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	c := newTexts(t, rdb, fill.Config[string]{})
	r := <-get(t.Context(), c, key, func(context.Context) (string, error) { runtime.Goexit(); return "", nil })
	if r.err == nil || rdb.Exists(t.Context(), tokenOf(key)).Val() != 0 {
		t.Errorf("%v, token left: %v", r.err, rdb.Exists(t.Context(), tokenOf(key)).Val())
	}
}
