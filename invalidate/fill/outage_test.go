package fill_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// counted returns a configuration that counts its errors.
func counted(errs *atomic.Int64, cfg fill.Config[string]) fill.Config[string] {
	cfg.OnError = func(error) { errs.Add(1) }
	return cfg
}

// While Redis is down, values come from the source, with one load for all callers. Afterwards they are cached again.
func TestRedisDown(t *testing.T) {
	t.Parallel()
	server := devtest.OwnRedis(t)
	opts, err := redis.ParseURL(server.URL())
	fatal(t, err)
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { fatal(t, rdb.Close()) })
	var errs atomic.Int64
	c := newTexts(t, rdb, counted(&errs, fill.Config[string]{RedisTimeout: 200 * time.Millisecond}))
	stalled, users := newStall(t), new(row)
	before := get(t.Context(), c, "before", stalled.of(users.load))
	<-stalled.read
	fatal(t, server.Kill())
	stalled.end()
	want(t, <-before, "v0") // its fill failed

	s := newStall(t)
	var all []<-chan result
	for range 5 {
		all = append(all, get(t.Context(), c, "k", s.of(users.load), fill.Tags("tag"), fill.Stamps("stamp")))
	}
	<-s.read
	awaitCallers(t, c, "k", 5)
	s.end()
	for _, r := range all {
		want(t, <-r, "v0")
	}
	if err := c.Drop(t.Context(), "k"); err == nil {
		t.Error("Drop returned nil without Redis")
	}
	if s := c.Stats(); s.Loads > 3 || s.Fills != 0 || s.Errors < 6 || s.Errors != errs.Load() {
		t.Errorf("%+v, %d errors", s, errs.Load())
	}
	fatal(t, server.Start(t.Context()))
	devtest.Eventually(t, 20*time.Second, "cached again", func() error { // the client dials once a second
		got, err := c.Get(t.Context(), "k", ttl, users.load)
		want(t, result{got, err}, "v0")
		if s := c.Stats(); s.Fills != 1 || s.Hits == 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// A Redis that accepts commands and does not answer delays a caller by RedisTimeout.
func TestRedisSilent(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(devtest.Redis(t).URL())
	fatal(t, err)
	proxy, err := faultnet.Listen(at.Host)
	fatal(t, err)
	t.Cleanup(func() { fatal(t, proxy.Close()) })
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { fatal(t, rdb.Close()) })
	var errs atomic.Int64
	const timeout = 100 * time.Millisecond
	c := newTexts(t, rdb, counted(&errs, fill.Config[string]{RedisTimeout: timeout}))
	proxy.Stall(faultnet.ToClient)
	began := time.Now()
	got, err := c.Get(t.Context(), devtest.Prefix(t)+"k", ttl, new(row).load)
	took := time.Since(began)
	want(t, result{got, err}, "v0")
	if took < timeout || took > 10*timeout || errs.Load() != 1 {
		t.Errorf("took %s, %d errors", took, errs.Load())
	}
	proxy.Heal()
}

// On a Redis Cluster no command uses two slots, whatever braces the keys have.
func TestCluster(t *testing.T) {
	t.Parallel()
	bus, err := net.Listen("tcp", "127.0.0.1:0")
	fatal(t, err)
	port := bus.Addr().(*net.TCPAddr).Port
	fatal(t, bus.Close())
	server := devtest.OwnRedis(t, devstack.RedisConfig{Args: []string{"--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(port)}})
	opts, err := redis.ParseURL(server.URL())
	fatal(t, err)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{opts.Addr}})
	t.Cleanup(func() { fatal(t, rdb.Close()) })
	node := redis.NewClient(opts)
	t.Cleanup(func() { fatal(t, node.Close()) })
	fatal(t, node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err())
	devtest.Eventually(t, 20*time.Second, "cluster", func() error { return node.Set(t.Context(), "x", "y", 0).Err() })

	c, users := newTexts(t, rdb, fill.Config[string]{}), new(row)
	keys := []string{"user:42", "{user:42}:profile", "user:{42}", "a{b", "{a}{b}", "}{a}", "a:f"}
	for _, text := range []string{"v0", "v1"} {
		for i, key := range keys {
			opts := []fill.Option{fill.Tags("tag:a", "tag:b"), fill.Stamps("stamp:a", "stamp:b", "stamp:c")}
			for range 2 {
				got, err := c.Get(t.Context(), key, ttl, users.load, opts[:i%3]...)
				want(t, result{got, err}, text)
			}
		}
		users.version.Add(1)
		fatal(t, c.Drop(context.Background(), keys...))
	}
	if s := c.Stats(); s.Fills != 14 || s.Hits != 14 {
		t.Errorf("%+v", s)
	}
}
