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

// More keys than one pipeline carries, of every type, hash tags among them.
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
	contains(t, "commands", info, "cmdstat_unlink:calls=80,") // of 32 keys, in pipelines of 1000: 32, 32 and 16
}

// A key that Redis refuses to delete keeps no other one.
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

// A pipeline that breaks off behind a command that was refused: what it did not get to is not taken for deleted.
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
		t.Errorf("no error, and %d keys are left", left)
	}
}

// breaksOff refuses the first command of a pipeline of four, and loses the connection before the last.
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
		"":                            func(*invalidate.Config) {},
		"Stream":                      func(c *invalidate.Config) { c.Stream = "" },
		"Stream \"a.b\"":              func(c *invalidate.Config) { c.Stream = "a.b" },
		"Durable":                     func(c *invalidate.Config) { c.Durable = "a b" },
		"no Rules":                    func(c *invalidate.Config) { c.Rules = nil },
		"Batch is -1":                 func(c *invalidate.Config) { c.Batch = -1 },
		"Batch is 10001":              func(c *invalidate.Config) { c.Batch = 10001 },
		"AckWait is 1ms":              func(c *invalidate.Config) { c.AckWait = time.Millisecond },
		"MaxAckPending is 1023":       func(c *invalidate.Config) { c.MaxAckPending = 1023 },
		"DeadStream is \"" + r.stream: func(c *invalidate.Config) { c.DeadStream = c.Stream },
		"Replicas is 6":               func(c *invalidate.Config) { c.Replicas = 6 },
		"Grace is -1s":                func(c *invalidate.Config) { c.Grace = -time.Second },
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
		t.Error("no JetStream: no error")
	}
}
