package fill_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

type user struct {
	Name string `json:"name"`
}

// The cached text is exactly what the codec made, and the value is loaded once.
func TestGet(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	c, err := fill.New(rdb, fill.Config[user]{RedisTimeout: 20 * time.Second})
	fatal(t, err)
	loads := 0
	for range 3 {
		got, err := c.Get(t.Context(), key, ttl, func(context.Context) (user, error) { loads++; return user{"Ada"}, nil })
		if err != nil || got.Name != "Ada" {
			t.Fatal(got, err)
		}
	}
	if loads != 1 || cached(t, rdb, key) != `{"name":"Ada"}` {
		t.Errorf("%d loads, cached %s", loads, cached(t, rdb, key))
	}
	if want := (fill.Stats{Hits: 2, Misses: 1, Loads: 1, Fills: 1}); c.Stats() != want {
		t.Errorf("%+v, want %+v", c.Stats(), want)
	}
	if left, err := rdb.PTTL(t.Context(), key).Result(); err != nil || left > ttl || left < ttl*8/10 {
		t.Errorf("expires in %s, %v", left, err)
	}
	if n := rdb.Exists(t.Context(), tokenOf(key)).Val(); n != 0 {
		t.Error("the token is still there")
	}
}

func TestRaw(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	c, err := fill.New(rdb, fill.Config[[]byte]{Codec: fill.Raw[[]byte]{}, RedisTimeout: 20 * time.Second})
	fatal(t, err)
	for range 2 {
		got, err := c.Get(t.Context(), key, ttl, func(context.Context) ([]byte, error) { return []byte{0, 255}, nil })
		if err != nil || string(got) != "\x00\xff" || cached(t, rdb, key) != "\x00\xff" {
			t.Error(got, err)
		}
	}
}

// The ttl is the upper bound, and Jitter is the largest part by which it is shortened.
func TestJitter(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		jitter   float64
		from, to int64 // the range of all ttls, in ms
		low      int64 // at least one ttl must be below it
	}{{0, 900, 1000, 930}, {0.5, 500, 1000, 600}, {-1, 1000, 1000, 1001}} {
		rdb, tp := tapped(t)
		c := newTexts(t, rdb, fill.Config[string]{Jitter: test.jitter})
		least, most := int64(math.MaxInt64), int64(0)
		tp.on(func(step string, cmds []redis.Cmder) {
			if step == "fill" {
				args := cmds[0].Args()
				ms := args[len(args)-1].(int64)
				least, most = min(least, ms), max(most, ms)
			}
		})
		prefix := devtest.Prefix(t)
		for i := range 100 {
			_, err := c.Get(t.Context(), fmt.Sprint(prefix, i), time.Second, new(row).load)
			fatal(t, err)
		}
		if least < test.from || most > test.to || least >= test.low {
			t.Errorf("jitter %v: %d to %d ms", test.jitter, least, most)
		}
	}
}

func TestErrKey(t *testing.T) {
	t.Parallel()
	c := newTexts(t, devtest.RedisClient(t), fill.Config[string]{})
	load := func(context.Context) (string, error) { t.Error("loaded"); return "", nil }
	for _, key := range []string{"", "a}b", "a{}b", "{a}:f", "{a}b:f"} {
		if _, err := c.Get(t.Context(), key, ttl, load); !errors.Is(err, fill.ErrKey) {
			t.Errorf("Get %q: %v", key, err)
		}
		if err := c.Drop(t.Context(), "fine", key); !errors.Is(err, fill.ErrKey) {
			t.Errorf("Drop %q: %v", key, err)
		}
	}
	for _, opt := range []fill.Option{fill.Tags("a", ""), fill.Stamps("")} {
		if _, err := c.Get(t.Context(), "k", ttl, load, opt); !errors.Is(err, fill.ErrKey) {
			t.Error(err)
		}
	}
	if _, err := c.Get(t.Context(), "k", time.Microsecond, load); err == nil || !strings.Contains(err.Error(), "ttl") {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]fill.Config[int]{
		"Lease": {Lease: time.Microsecond}, "WaitMax": {WaitMax: -1}, "Jitter": {Jitter: 1}, "RedisTimeout": {RedisTimeout: -1},
	} {
		if _, err := fill.New(devtest.RedisClient(t), cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := fill.New(nil, fill.Config[int]{}); err == nil {
		t.Error("no error without a client")
	}
}

var errLoad = errors.New("no such row")

// An error of load is not cached, and the next reader need not wait for the end of the lease.
func TestLoadErrorReleasesToken(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	c, other := newTexts(t, rdb, fill.Config[string]{}), newTexts(t, rdb, fill.Config[string]{})
	if _, err := c.Get(t.Context(), key, ttl, func(context.Context) (string, error) { return "x", errLoad }); !errors.Is(err, errLoad) {
		t.Error(err)
	}
	got, err := other.Get(t.Context(), key, ttl, new(row).load)
	want(t, result{got, err}, "v0")
	if s := other.Stats(); s.Waits != 0 || s.Fills != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPanicReachesCaller(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	var reported error
	c := newTexts(t, rdb, fill.Config[string]{OnError: func(err error) { reported = err }})
	var cause any
	func() {
		defer func() { cause = recover() }()
		_, _ = c.Get(t.Context(), key, ttl, func(context.Context) (string, error) { panic(errLoad) })
	}()
	if err, ok := cause.(error); !ok || !errors.Is(err, errLoad) || !errors.Is(reported, errLoad) {
		t.Errorf("recovered %v, reported %v", cause, reported)
	}
	got, err := c.Get(t.Context(), key, ttl, new(row).load)
	want(t, result{got, err}, "v0")
	if s := c.Stats(); s.Waits != 0 || s.Fills != 1 {
		t.Errorf("the token was not released: %+v", s)
	}
}

// A text that the codec cannot decode is loaded again and overwritten, also if it appears after the first step of the Get.
func TestUndecodable(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"get", "miss"} {
		rdb, tp := tapped(t)
		plain, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
		errs := 0
		c, err := fill.New(rdb, fill.Config[user]{RedisTimeout: 20 * time.Second, OnError: func(error) { errs++ }})
		fatal(t, err)
		once := false
		tp.on(func(step string, _ []redis.Cmder) {
			if step == at && !once {
				once = true
				fatal(t, plain.Set(t.Context(), key, "no JSON", 0).Err())
			}
		})
		got, err := c.Get(t.Context(), key, ttl, func(context.Context) (user, error) { return user{"Ada"}, nil })
		if err != nil || got.Name != "Ada" || errs != 1 || cached(t, plain, key) != `{"name":"Ada"}` {
			t.Errorf("%s: %v, %v, %d errors, cached %q", at, got, err, errs, cached(t, plain, key))
		}
	}
}

// A value that cannot be encoded is returned, and its token is released.
func TestUnencodable(t *testing.T) {
	t.Parallel()
	rdb, key := devtest.RedisClient(t), devtest.Prefix(t)+"k"
	errs := 0
	c, err := fill.New(rdb, fill.Config[float64]{RedisTimeout: 20 * time.Second, OnError: func(error) { errs++ }})
	fatal(t, err)
	got, err := c.Get(t.Context(), key, ttl, func(context.Context) (float64, error) { return math.Inf(1), nil })
	if err != nil || !math.IsInf(got, 1) || errs != 1 {
		t.Error(got, err, errs)
	}
	if n := rdb.Exists(t.Context(), key, tokenOf(key)).Val(); n != 0 {
		t.Errorf("%d keys are left", n)
	}
}
