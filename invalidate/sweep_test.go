package invalidate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

func (r *rig) sweep(s invalidate.Sweep) invalidate.Swept {
	r.t.Helper()
	s.Redis = r.rdb
	if s.Grace == 0 {
		s.Grace = time.Millisecond
	}
	swept, err := s.Run(r.t.Context())
	fatal(r.t, err)
	return swept
}

// A sweep removes from a ZSET the members whose time is over, and from a SET those without a value. A dry run returns
// the same counts and removes nothing.
func TestSweep(t *testing.T) {
	t.Parallel()
	const n = 3500
	r := newRig(t)
	zset, set := r.prefix+"tag:z", r.prefix+"tag:s"
	r.index("z", n, true)
	keys := r.index("s", n, false)
	pipe := r.rdb.Pipeline()
	for i := range n / 2 {
		pipe.ZAdd(t.Context(), zset, redis.Z{Score: float64(time.Now().Unix() - 1 - int64(i%5)), Member: fmt.Sprintf("%smember:z:%d", r.prefix, i)})
		pipe.Del(t.Context(), keys[i])
	}
	pipe.Set(t.Context(), r.prefix+"tag:text", "none", 0)
	_, err := pipe.Exec(t.Context())
	fatal(t, err)

	all := invalidate.Sweep{Match: []string{r.prefix + "tag:*"}, Tags: []string{zset, r.prefix + "tag:text", r.prefix + "tag:missing"}, DryRun: true}
	want := invalidate.Swept{Tags: 4, Members: 2 * n, Removed: n, Other: 1}
	same(t, "dry run", r.sweep(all), want)
	same(t, "members after it", []int64{r.rdb.ZCard(t.Context(), zset).Val(), r.rdb.SCard(t.Context(), set).Val()}, []int{n, n})
	all.DryRun = false
	same(t, "sweep", r.sweep(all), want)
	same(t, "members after it", []int64{r.rdb.ZCard(t.Context(), zset).Val(), r.rdb.SCard(t.Context(), set).Val()}, []int{n / 2, n / 2})
	same(t, "second sweep", r.sweep(all), invalidate.Swept{Tags: 4, Members: n, Other: 1})
}

// While clients delete values and fill them again, value first, a sweep never leaves a value without its membership.
func TestSweepUnderRefill(t *testing.T) {
	t.Parallel()
	const members, clients = 300, 6
	r := newRig(t)
	set := r.prefix + "tag:busy"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, clients)
	for range clients {
		go func() {
			var err error
			for ctx.Err() == nil && err == nil {
				key := fmt.Sprintf("%smember:busy:%d", r.prefix, rand.IntN(members))
				pipe := r.rdb.Pipeline()
				if rand.IntN(2) == 0 {
					pipe.Del(context.Background(), key) // as if it had expired
				} else {
					pipe.Set(context.Background(), key, "v", time.Hour)
					pipe.SAdd(context.Background(), set, key)
				}
				_, err = pipe.Exec(context.Background())
			}
			ended <- err
		}()
	}
	var total invalidate.Swept
	for began := time.Now(); total.Removed < 2000 && time.Since(began) < patience; {
		s := r.sweep(invalidate.Sweep{Tags: []string{set}, Rate: -1})
		total.Removed += s.Removed
		total.Restored += s.Restored
	}
	cancel()
	for range clients {
		fatal(t, <-ended)
	}
	if total.Removed == 0 {
		t.Error("the sweeps removed no member")
	}
	for i := range members {
		key := fmt.Sprintf("%smember:busy:%d", r.prefix, i)
		if r.rdb.Exists(t.Context(), key).Val() == 1 && !r.rdb.SIsMember(t.Context(), set, key).Val() {
			t.Errorf("%s has a value but is not a member", key)
		}
	}
	t.Logf("%d removed, %d restored", total.Removed, total.Restored)
}

func TestSweepWithoutTagsFails(t *testing.T) {
	t.Parallel()
	if _, err := (invalidate.Sweep{}).Run(t.Context()); err == nil {
		t.Error("Run without Redis and tags returned no error")
	}
}

// A client that fills a value just before the sweep removes its member adds a member that still exists, which has no
// effect. The sweep must restore it.
func TestSweepRestoresMembers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key, tag := r.prefix+"member", r.prefix+"tag:x"
	fatal(t, r.rdb.SAdd(t.Context(), tag, key).Err())
	hooked := redis.NewClient(r.rdb.Options())
	defer hooked.Close()
	hooked.AddHook(before{"srem", func() {
		fatal(t, r.rdb.Set(t.Context(), key, "v", 0).Err())
		fatal(t, r.rdb.SAdd(t.Context(), tag, key).Err())
	}})
	swept, err := invalidate.Sweep{Redis: hooked, Tags: []string{tag}, Grace: time.Millisecond}.Run(t.Context())
	fatal(t, err)
	same(t, "swept", swept, invalidate.Swept{Tags: 1, Members: 1, Restored: 1})
	if !r.rdb.SIsMember(t.Context(), tag, key).Val() {
		t.Error("the sweep did not restore the member")
	}
}

// before is a hook that calls do before a command.
type before struct {
	command string
	do      func()
}

func (b before) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == b.command {
			b.do()
		}
		return next(ctx, cmd)
	}
}

func (b before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
