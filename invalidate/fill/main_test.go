package fill_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/slot"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // the client logs every dial that fails while a test has Redis stopped
	devtest.Main(m)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// redisURL returns the URL of an empty database of the test server, for an example.
func redisURL() string {
	url := strings.TrimSuffix(devtest.Redis(exampleTB{}).URL(), "/0") + "/9" // tests use database 0
	opts, err := redis.ParseURL(url)
	if err != nil {
		panic(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	if err := rdb.FlushDB(context.Background()).Err(); err != nil {
		panic(err)
	}
	return url
}

// exampleTB starts a server for an example, which has no testing.TB.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper() {}

func (exampleTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const ttl = time.Hour

type texts = fill.Cache[string]

// newTexts returns a cache of plain texts with timeouts long enough for a test. An error passed to OnError fails the test
// unless cfg has its own OnError.
func newTexts(t testing.TB, rdb redis.UniversalClient, cfg fill.Config[string]) *texts {
	t.Helper()
	if cfg.Codec == nil {
		cfg.Codec = fill.Raw[string]{}
	}
	if cfg.RedisTimeout == 0 {
		cfg.RedisTimeout = 20 * time.Second
	}
	if cfg.Lease == 0 {
		cfg.Lease = time.Minute
	}
	if cfg.OnError == nil {
		cfg.OnError = func(err error) { t.Errorf("OnError: %v", err) }
	}
	c, err := fill.New(rdb, cfg)
	fatal(t, err)
	t.Cleanup(c.Wait)
	return c
}

// A row is the source of a cached value.
type row struct{ version atomic.Int64 }

func (r *row) text() string { return "v" + strconv.FormatInt(r.version.Load(), 10) }

func (r *row) load(context.Context) (string, error) { return r.text(), nil }

// A stall is a load that has read its row and waits until the test calls end.
type stall struct {
	read    chan struct{} // closed when the row has been read
	proceed chan struct{} // closed by end
	once    sync.Once
}

// newStall returns a stall that ends with the test, before whatever the test created earlier.
func newStall(t testing.TB) *stall {
	s := &stall{read: make(chan struct{}), proceed: make(chan struct{})}
	t.Cleanup(s.end)
	return s
}

func (s *stall) end() { s.once.Do(func() { close(s.proceed) }) }

func (s *stall) of(load func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		text, err := load(ctx)
		close(s.read)
		<-s.proceed
		return text, err
	}
}

// A result is what a Get in the background returned.
type result struct {
	text string
	err  error
}

func get(ctx context.Context, c *texts, key string, load func(context.Context) (string, error), opts ...fill.Option) <-chan result {
	out := make(chan result, 1)
	go func() {
		text, err := c.Get(ctx, key, ttl, load, opts...)
		out <- result{text, err}
	}()
	return out
}

func want(t testing.TB, got result, text string) {
	t.Helper()
	if got.err != nil || got.text != text {
		t.Errorf("got %q, %v, want %q", got.text, got.err, text)
	}
}

// cached returns the cached text of a key, "" for none.
func cached(t testing.TB, rdb redis.UniversalClient, key string) string {
	t.Helper()
	text, err := rdb.Get(t.Context(), key).Result()
	if err != redis.Nil {
		fatal(t, err)
	}
	return text
}

func tokenOf(key string) string {
	token, _ := slot.Token(key)
	return token
}

// unlink deletes keys and tokens, as the invalidator does.
func unlink(t testing.TB, rdb redis.UniversalClient, keys ...string) {
	t.Helper()
	for _, key := range keys {
		fatal(t, rdb.Unlink(context.Background(), key, tokenOf(key)).Err())
	}
}

// A tap calls before ahead of each step that one client takes in Redis.
type tap struct {
	scripts map[string]string // name of a script by its hash and by its text
	mu      sync.Mutex
	before  func(step string, cmds []redis.Cmder)
	twice   string // the step whose first reply is lost
}

// tapped returns a client of the shared server, and the tap on it.
func tapped(t testing.TB) (*redis.Client, *tap) {
	t.Helper()
	tp := &tap{scripts: map[string]string{}, before: func(string, []redis.Cmder) {}}
	for _, name := range []string{"miss", "fill", "release", "stamp"} {
		text, err := os.ReadFile(name + ".lua")
		fatal(t, err)
		tp.scripts[string(text)] = name
		tp.scripts[redis.NewScript(string(text)).Hash()] = name
	}
	rdb := devtest.RedisClient(t)
	for text := range tp.scripts { // otherwise a client takes a step twice: EVALSHA, then EVAL
		if len(text) != 40 {
			fatal(t, redis.NewScript(text).Load(t.Context(), rdb).Err())
		}
	}
	rdb.AddHook(tp)
	return rdb, tp
}

func (tp *tap) on(before func(step string, cmds []redis.Cmder)) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.before = before
}

func (tp *tap) step(cmds []redis.Cmder) string {
	step := cmds[len(cmds)-1].Name()
	if slices.Contains([]string{"eval", "evalsha"}, step) {
		step = tp.scripts[fmt.Sprint(cmds[0].Args()[1])]
	}
	if step == "hello" || step == "client" {
		return "" // the client opens a connection
	}
	tp.mu.Lock()
	before := tp.before
	tp.mu.Unlock()
	before(step, cmds)
	return step
}

func (tp *tap) DialHook(next redis.DialHook) redis.DialHook { return next }

func (tp *tap) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if step := tp.step([]redis.Cmder{cmd}); step != "" && step == tp.twice {
			_ = next(ctx, cmd) // the second reply counts
		}
		return next(ctx, cmd)
	}
}

func (tp *tap) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		tp.step(cmds)
		return next(ctx, cmds)
	}
}
