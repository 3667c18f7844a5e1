package fill_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// Drop deletes any number of keys and their tokens, and nothing if one of the keys is unusable.
func TestDrop(t *testing.T) {
	t.Parallel()
	rdb, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	c := newTexts(t, rdb, fill.Config[string]{})
	keys := make([]string, 2001)
	_, err := rdb.Pipelined(t.Context(), func(pipe redis.Pipeliner) error {
		for i := range keys {
			keys[i] = fmt.Sprint(prefix, i)
			pipe.Set(t.Context(), keys[i], "x", 0)
			pipe.Set(t.Context(), tokenOf(keys[i]), "x", 0)
		}
		return nil
	})
	fatal(t, err)
	left := func() (n int64) {
		for _, i := range []int{0, 999, 1000, 2000} {
			n += rdb.Exists(t.Context(), keys[i], tokenOf(keys[i])).Val()
		}
		return n
	}
	if err := c.Drop(t.Context(), append(keys, "a}b")...); err == nil || left() != 8 {
		t.Errorf("%v, %d left", err, left())
	}
	fatal(t, c.Drop(t.Context()))
	fatal(t, c.Drop(t.Context(), keys...))
	if left() != 0 {
		t.Errorf("%d left", left())
	}
}
