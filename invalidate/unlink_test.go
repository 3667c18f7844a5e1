package invalidate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// More keys than fit in one pipeline, of several types and with hash tags.
func TestUnlinkManyKeys(t *testing.T) {
	t.Parallel()
	const n = 2500
	r := newRig(t)
	r.rdb = redisClient(t, devtest.OwnRedis(t).URL())
	r.rules = parse(t, fmt.Sprintf(`rules: [{subject: %s.x.*, prefix: [%q], keys: ["{$1}:${payload.ids}"]}]`, r.stream, r.prefix))
	pipe := r.rdb.Pipeline()
	for i := range n {
		key := fmt.Sprintf("%s{%d}:%d", r.prefix, i%5, i)
		switch i % 3 {
		case 0:
			pipe.Set(t.Context(), key, "x", time.Hour)
		case 1:
			pipe.HSet(t.Context(), key, "data", "x")
		case 2:
			pipe.SAdd(t.Context(), key, "x")
		}
	}
	_, err := pipe.Exec(t.Context())
	fatal(t, err)
	for user := range 5 {
		var ids []string
		for i := user; i < n; i += 5 {
			ids = append(ids, fmt.Sprint(i))
		}
		e := r.bought(user, `{"ids": [`+strings.Join(ids, ", ")+`]}`)
		e.Subject = fmt.Sprintf("%s.x.%d", r.stream, user)
		r.publishEvent(e)
	}
	r.published()
	v := r.invalidator(r.config())
	_, err = v.Step(t.Context())
	fatal(t, err)
	same(t, "keys, deleted", []int64{v.Stats().Keys, v.Stats().Deleted}, []int{n, n})
	same(t, "left", r.left(), 0)
	info, err := r.rdb.Info(t.Context(), "commandstats").Result()
	fatal(t, err)
	contains(t, "commands", info, "cmdstat_unlink:calls=80,") // of 32 keys, in pipelines of 1000 keys: 32, 32 and 16 commands
}

// A key that Redis rejects does not prevent the deletion of others.
func TestUnlinkBesideAForbiddenKey(t *testing.T) {
	t.Parallel()
	server := devtest.OwnRedis(t)
	rdb := redisClient(t, server.URL())
	fatal(t, rdb.Do(t.Context(), "ACL", "SETUSER", "narrow", "on", "nopass", "~a:*", "~{a:*", "+@all").Err())
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = fmt.Sprint("a:", i)
		fatal(t, rdb.Set(t.Context(), keys[i], "x", time.Hour).Err())
	}
	keys[40] = "b:40"
	fatal(t, rdb.Set(t.Context(), keys[40], "x", time.Hour).Err())
	options := *rdb.Options()
	options.Username, options.Password = "narrow", "any"
	narrow := redis.NewClient(&options)
	t.Cleanup(func() { _ = narrow.Close() })
	err := invalidate.Now(t.Context(), narrow, keys...)
	if !redis.HasErrorPrefix(err, "NOPERM") {
		t.Errorf("got %v, want NOPERM", err)
	}
	left, err := rdb.Keys(t.Context(), "*").Result()
	fatal(t, err)
	slices.Sort(left)
	same(t, "left", left, []string{"a:40", "b:40"})
}

// The connection breaks after Redis has rejected a command of the pipeline. Keys of later commands must not count as
// deleted.
func TestUnlinkBesideABrokenConnection(t *testing.T) {
	t.Parallel()
	rdb := redisClient(t, devtest.OwnRedis(t).URL())
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = fmt.Sprint("a:", i)
		fatal(t, rdb.Set(t.Context(), keys[i], "x", time.Hour).Err())
	}
	rdb.AddHook(breaksOff{})
	err := invalidate.Now(t.Context(), rdb, keys...)
	left, countErr := rdb.DBSize(t.Context()).Result()
	fatal(t, countErr)
	if err == nil && left > 0 {
		t.Errorf("no error, but %d keys are left", left)
	}
}

// breaksOff rejects the first command of a pipeline of four, and breaks the connection before the last.
type breaksOff struct{}

type crossSlot struct{}

func (crossSlot) Error() string { return "CROSSSLOT Keys in request don't hash to the same slot" }
func (crossSlot) RedisError()   {}

func (breaksOff) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (breaksOff) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (breaksOff) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		if len(commands) != 4 {
			return next(ctx, commands)
		}
		err := next(ctx, commands[1:3])
		commands[0].SetErr(crossSlot{})
		commands[3].SetErr(io.EOF)
		return errors.Join(commands[0].Err(), err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for want, change := range map[string]func(*invalidate.Config){
		"":                                 func(*invalidate.Config) {},
		"invalid Stream \"\"":              func(c *invalidate.Config) { c.Stream = "" },
		"invalid Stream \"a.b\"":           func(c *invalidate.Config) { c.Stream = "a.b" },
		"invalid Durable \"a b\"":          func(c *invalidate.Config) { c.Durable = "a b" },
		"missing Rules":                    func(c *invalidate.Config) { c.Rules = nil },
		"invalid Batch -1":                 func(c *invalidate.Config) { c.Batch = -1 },
		"invalid Batch 10001":              func(c *invalidate.Config) { c.Batch = 10001 },
		"invalid AckWait 1ms":              func(c *invalidate.Config) { c.AckWait = time.Millisecond },
		"invalid MaxAckPending 1023":       func(c *invalidate.Config) { c.MaxAckPending = 1023 },
		"invalid DeadStream \"" + r.stream: func(c *invalidate.Config) { c.DeadStream = c.Stream },
		"invalid Replicas 6":               func(c *invalidate.Config) { c.Replicas = 6 },
		"invalid Grace -1s":                func(c *invalidate.Config) { c.Grace = -time.Second },
	} {
		cfg := r.config()
		change(&cfg)
		_, err := invalidate.New(r.js, r.rdb, cfg)
		if want == "" {
			fatal(t, err)
		} else if err == nil {
			t.Errorf("%s: no error", want)
		} else {
			contains(t, "error", err.Error(), want)
		}
	}
	if _, err := invalidate.New(nil, r.rdb, r.config()); err == nil {
		t.Error("New without JetStream returned no error")
	}
}
