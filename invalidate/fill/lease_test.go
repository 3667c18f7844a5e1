package fill_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// The fill of a reader that stalls with the old row is refused, whatever removed its token.
func TestStalledReaderIsRefused(t *testing.T) {
	t.Parallel()
	own := func(t *testing.T) *redis.Client {
		opts, err := redis.ParseURL(devtest.OwnRedis(t).URL())
		fatal(t, err)
		rdb := redis.NewClient(opts)
		t.Cleanup(func() { fatal(t, rdb.Close()) })
		return rdb
	}
	shared := func(t *testing.T) *redis.Client { return devtest.RedisClient(t) }
	for name, test := range map[string]struct {
		client func(*testing.T) *redis.Client
		lease  time.Duration
		lose   func(t *testing.T, rdb *redis.Client, key string)
	}{
		"invalidated": {shared, time.Minute, func(t *testing.T, rdb *redis.Client, key string) { unlink(t, rdb, key) }},
		"dropped": {shared, time.Minute, func(t *testing.T, rdb *redis.Client, key string) {
			fatal(t, newTexts(t, rdb, fill.Config[string]{}).Drop(t.Context(), key))
		}},
		"evicted": {shared, time.Minute, func(t *testing.T, rdb *redis.Client, key string) { fatal(t, rdb.Del(t.Context(), tokenOf(key)).Err()) }},
		"flushed": {own, time.Minute, func(t *testing.T, rdb *redis.Client, _ string) { fatal(t, rdb.FlushAll(t.Context()).Err()) }},
		"taken by another": {shared, time.Minute, func(t *testing.T, rdb *redis.Client, key string) {
			fatal(t, rdb.Set(t.Context(), tokenOf(key), "another", time.Minute).Err())
		}},
		"expired": {shared, 20 * time.Millisecond, func(t *testing.T, rdb *redis.Client, key string) {
			devtest.Eventually(t, 10*time.Second, "end of the lease", func() error {
				if rdb.Exists(t.Context(), tokenOf(key)).Val() != 0 {
					return errors.New("the token still exists")
				}
				return nil
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, key := test.client(t), devtest.Prefix(t)+"k"
			c, s, users := newTexts(t, rdb, fill.Config[string]{Lease: test.lease}), newStall(t), new(row)
			old := get(t.Context(), c, key, s.of(users.load))
			<-s.read
			users.version.Add(1)
			test.lose(t, rdb, key)
			s.end()
			want(t, <-old, "v0")
			if text, s := cached(t, rdb, key), c.Stats(); text != "" || s.Refused != 1 || s.Fills != 0 {
				t.Errorf("cached %q, %+v", text, s)
			}
		})
	}
}

// The fill of a reader that came after the invalidation stays, although the old reader finishes later.
func TestNewReaderWins(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	one, two := newTexts(t, rdb, fill.Config[string]{}), newTexts(t, rdb, fill.Config[string]{})
	early, late, users := newStall(t), newStall(t), new(row)
	old := get(t.Context(), one, key, early.of(users.load))
	<-early.read
	users.version.Add(1)
	unlink(t, rdb, key)
	fresh := get(t.Context(), two, key, late.of(users.load))
	<-late.read
	early.end() // while the new reader has its token
	want(t, <-old, "v0")
	if text := cached(t, rdb, key); text != "" {
		t.Errorf("cached %q", text)
	}
	late.end()
	want(t, <-fresh, "v1")
	if text := cached(t, rdb, key); text != "v1" || two.Stats().Fills != 1 {
		t.Errorf("cached %q, %+v", text, two.Stats())
	}
}

// A miss that the network delivers a second time, after the token was deleted, does not let the old reader fill.
func TestLateDuplicateOfMiss(t *testing.T) {
	t.Parallel()
	plain, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	rdb, tp := tapped(t)
	var miss []any
	tp.on(func(step string, cmds []redis.Cmder) {
		if step == "miss" {
			miss = cmds[0].Args()
		}
	})
	c, s, users := newTexts(t, rdb, fill.Config[string]{}), newStall(t), new(row)
	old := get(t.Context(), c, key, s.of(users.load))
	<-s.read
	users.version.Add(1)
	unlink(t, plain, key)
	fatal(t, plain.Do(t.Context(), miss...).Err())
	s.end()
	want(t, <-old, "v0")
	if text := cached(t, plain, key); text != "" {
		t.Errorf("cached %q", text)
	}
}

// A client that sends the miss again because the reply was lost gets its own token.
func TestLostReplyOfMiss(t *testing.T) {
	t.Parallel()
	rdb, tp := tapped(t)
	tp.twice = "miss"
	c := newTexts(t, rdb, fill.Config[string]{})
	got, err := c.Get(t.Context(), devtest.Prefix(t)+"k", ttl, new(row).load)
	want(t, result{got, err}, "v0")
	if s := c.Stats(); s.Fills != 1 || s.Waits != 0 {
		t.Errorf("%+v", s)
	}
}

// A reader whose load fails late releases only its own token.
func TestReleaseLeavesTokenOfAnother(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	one, two := newTexts(t, rdb, fill.Config[string]{}), newTexts(t, rdb, fill.Config[string]{})
	early, late := newStall(t), newStall(t)
	failing := get(t.Context(), one, key, early.of(func(context.Context) (string, error) { return "", errLoad }))
	<-early.read
	unlink(t, rdb, key)
	other := get(t.Context(), two, key, late.of(new(row).load))
	<-late.read
	early.end()
	if r := <-failing; !errors.Is(r.err, errLoad) {
		t.Error(r.err)
	}
	late.end()
	want(t, <-other, "v0")
	if two.Stats().Fills != 1 {
		t.Errorf("%+v", two.Stats())
	}
}

// A reader that has waited WaitMax for another process loads without filling.
func TestWaitMax(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	holder, c := newTexts(t, rdb, fill.Config[string]{}), newTexts(t, rdb, fill.Config[string]{WaitMax: 30 * time.Millisecond})
	s, users := newStall(t), new(row)
	held := get(t.Context(), holder, key, s.of(users.load))
	<-s.read
	got, err := c.Get(t.Context(), key, ttl, users.load)
	want(t, result{got, err}, "v0")
	if s := c.Stats(); s.Waits != 1 || s.Loads != 1 || s.Fills+s.Refused != 0 {
		t.Errorf("%+v", s)
	}
	s.end()
	want(t, <-held, "v0")
	if holder.Stats().Fills != 1 {
		t.Errorf("%+v", holder.Stats())
	}
}

// A waiting reader takes the token when the other process releases it without a value.
func TestWaiterTakesOver(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	holder, c := newTexts(t, rdb, fill.Config[string]{}), newTexts(t, rdb, fill.Config[string]{WaitMax: time.Minute})
	s := newStall(t)
	held := get(t.Context(), holder, key, s.of(func(context.Context) (string, error) { return "", errLoad }))
	<-s.read
	waiter := get(t.Context(), c, key, new(row).load)
	awaitWaits(t, 1, c)
	s.end()
	if r := <-held; !errors.Is(r.err, errLoad) {
		t.Error(r.err)
	}
	want(t, <-waiter, "v0")
	if s := c.Stats(); s.Fills != 1 {
		t.Errorf("%+v", s)
	}
}
