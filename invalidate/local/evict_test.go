package local_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/local"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Every key is evicted when its event arrives, in the order of the stream, and again after RepeatAfter.
func TestEvictsTwice(t *testing.T) {
	t.Parallel()
	const n = 600 // more than one pull request
	r := newRig(t)
	e, stop := r.start(r.js, r.config())
	r.publish(0, n)
	r.gone()
	r.until(e, "second evictions", func(s local.Stats) bool { return s.Repeated == n && s.Pending == 0 })
	r.until(e, "two flushes for the start", func(s local.Stats) bool { return s.Flushes == 2 })
	stop()
	order := r.cache.order()
	for i := range n {
		key := fmt.Sprintf("user:%d", i)
		if order[i] != key {
			t.Fatalf("eviction %d is of %s, want %s", i, order[i], key)
		}
		at := r.cache.of(key)
		if len(at) != 2 || at[1].Sub(at[0]) < repeatAfter {
			t.Fatalf("%s was evicted at %v, want twice", key, at)
		}
	}
	s := e.Stats()
	if s.Events != n || s.Keys != n || s.Consumers != 1 || s.Gaps+s.Unconfirmed+s.Poison+s.Overflows != 0 {
		t.Errorf("stats are %+v", s)
	}
	if e.Healthy() {
		t.Error("healthy after Run has returned")
	}
}

// The cache is flushed once the first consumer exists, because values cached before may be older than events that it does
// not deliver, and again after RepeatAfter, for values that were being loaded.
func TestFlushesOnStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(0, 10)
	consumers := make(chan int, 100)
	cfg := r.config()
	cfg.Flush = func() {
		n := -1
		if stream, err := r.js.Stream(t.Context(), r.stream); err == nil {
			n = stream.CachedInfo().State.Consumers
		}
		consumers <- n
		r.cache.flush()
	}
	e, _ := r.start(r.js, cfg)
	if left := r.cache.left(); len(left) > 0 {
		t.Errorf("healthy while the cache has %v", left)
	}
	if n := <-consumers; n != 1 {
		t.Errorf("flushed with %d consumers", n)
	}
	at := r.times("flush", 2)
	if at[1].Sub(at[0]) < repeatAfter {
		t.Errorf("flushed at %v", at)
	}
	if s := e.Stats(); s.Events != 0 || s.Gaps != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// Run deletes its consumer.
func TestConsumerEndsWithRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, stop := r.start(r.js, r.config())
	stop()
	stream, err := r.js.Stream(t.Context(), r.stream)
	fatal(t, err)
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("EvictTag %t", known), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			cfg := r.config()
			if known {
				cfg.EvictTag = r.cache.evictTag
			}
			e, _ := r.start(r.js, cfg)
			r.times("flush", 2)
			r.cache.set("user:1", "a member of the tag")
			r.send(&event.Event{Subject: r.stream + ".groups.7", Payload: []byte(`{}`)})
			r.sent()
			r.times("group:7", 2)
			if known {
				at := r.times("tag members:7", 2)
				if at[1].Sub(at[0]) < repeatAfter {
					t.Errorf("evicted at %v", at)
				}
				if n := len(r.cache.of("flush")); n != 2 {
					t.Errorf("flushed %d times", n)
				}
			} else {
				// The first flush for the event may be late, so that it shares one with an earlier flush. The second is
				// due RepeatAfter from the event, whose key is evicted first.
				at, evicted := r.times("flush", 4), r.cache.of("group:7")[0]
				if at[3].Sub(evicted) < repeatAfter {
					t.Errorf("key evicted at %v, flushed at %v", evicted, at)
				}
				r.gone()
			}
			if s := e.Stats(); s.Tags != 1 || s.Keys != 1 {
				t.Errorf("stats are %+v", s)
			}
		})
	}
}

// A poison event evicts the keys that can be derived and flushes the cache. Many of them share flushes.
func TestPoison(t *testing.T) {
	t.Parallel()
	const n = 2000
	r := newRig(t)
	e, _ := r.start(r.js, r.config())
	r.times("flush", 2)
	r.cache.set("cart:1", "old")
	began := time.Now()
	for range n {
		r.send(&event.Event{Subject: r.stream + ".carts.1", Payload: []byte(`{}`)})
	}
	r.sent()
	r.gone()
	r.until(e, "all poison", func(s local.Stats) bool { return s.Poison == n && s.Repeated == n })
	took := time.Since(began)
	r.times("carts", 2*n)
	at := r.times("flush", 4)
	if most := 2 + 16*int(took/repeatAfter+2); len(at) > most {
		t.Errorf("%d flushes in %s", len(at), took)
	}
	if err := r.log.has("poison event, flushing the cache"); err != nil {
		t.Error(err)
	}
}

// A message with an invalid header is poison too. The marker of a parked event is ignored.
func TestInvalidHeaderAndMarker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.rules = parse(t, `rules: [{subject: ">", keys: ["all"]}]`)
	e, _ := r.start(r.js, r.config())
	marker := nats.NewMsg(event.ParkedPrefix + r.stream)
	marker.Header.Set(event.HeaderParked, "too large")
	_, err := r.js.PublishMsg(t.Context(), marker)
	fatal(t, err)
	invalid := nats.NewMsg(r.stream + ".users.1.updated")
	invalid.Header.Set(event.HeaderPosition, "first")
	_, err = r.js.PublishMsg(t.Context(), invalid)
	fatal(t, err)
	r.times("all", 2)
	if s := e.Stats(); s.Events != 1 || s.Keys != 1 || s.Poison != 1 {
		t.Errorf("stats are %+v", s)
	}
}

// More than MaxPending second evictions become one flush when the last of them is due.
func TestOverflow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg := r.config()
	cfg.MaxPending = 100
	cfg.RepeatAfter = time.Second
	e, _ := r.start(r.js, cfg)
	r.publish(0, 100)
	r.publish(100, 101)
	at := r.times("user:100", 1)
	r.until(e, "overflow", func(s local.Stats) bool { return s.Overflows == 1 && s.Pending == 0 })
	r.cache.set("user:0", "loaded from a shared cache that was not clean yet")
	devtest.Eventually(t, patience, "one flush for all second evictions", func() error {
		flushes := r.cache.of("flush")
		if d := flushes[len(flushes)-1].Sub(at[0]); d < cfg.RepeatAfter {
			return fmt.Errorf("flushed after %s", d)
		}
		return nil
	})
	r.gone()
	if s := e.Stats(); s.Repeated != 0 || s.Keys != 101 {
		t.Errorf("stats are %+v", s)
	}
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fatal(t, r.js.DeleteStream(t.Context(), r.stream))
	e, stop := r.run(r.js, r.config())
	devtest.Eventually(t, patience, "waiting for the stream", func() error { return r.log.has("consumer not available, retrying") })
	if e.Healthy() {
		t.Error("healthy without a stream")
	}
	stop() // the rig checks that Run returns nil

	r.makeStream()
	conn := connect(t, r.js.Conn().ConnectedUrl())
	e, err := local.New(jetStream(t, conn), r.config())
	fatal(t, err)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(context.Background()) }()
	r.until(e, "consumer", func(s local.Stats) bool { return s.Consumers == 1 })
	conn.Close()
	if err := <-ended; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Run with a closed connection: %v", err)
	}
}

// A stream that gives each event to only one consumer cannot be followed.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fatal(t, r.js.DeleteStream(t.Context(), r.stream))
	_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: r.stream, Subjects: []string{r.stream + ".>"}, Retention: jetstream.WorkQueuePolicy,
	})
	fatal(t, err)
	e, err := local.New(r.js, r.config())
	fatal(t, err)
	if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "run evictor: create consumer") {
		t.Errorf("Run: %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	js := jetStream(t, devtest.Conn(t))
	slow := parse(t, `rules: [{subject: a, keys: [k], echo: [1s, 30s]}]`)
	for want, change := range map[string]func(*local.Config){
		"want a NATS name":        func(c *local.Config) { c.Stream = "a.b" },
		"Rules missing":           func(c *local.Config) { c.Rules = nil },
		"Evict missing":           func(c *local.Config) { c.Evict = nil },
		"Flush missing":           func(c *local.Config) { c.Flush = nil },
		"invalid RepeatAfter -1s": func(c *local.Config) { c.RepeatAfter = -time.Second },
		"more than the longest echo of the rules, 30s": func(c *local.Config) { c.Rules, c.RepeatAfter = slow, 30*time.Second },
		"invalid MaxPending -1":                        func(c *local.Config) { c.MaxPending = -1 },
		"invalid MaxUnconfirmed 1ms":                   func(c *local.Config) { c.MaxUnconfirmed = time.Millisecond },
	} {
		cfg := local.Config{Stream: "OUTBOX", Rules: slow, Evict: func(string) {}, Flush: func() {}}
		if _, err := local.New(js, cfg); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if _, err := local.New(js, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if _, err := local.New(nil, local.Config{}); err == nil {
		t.Error("New accepted a nil client")
	}
}

// Run may be called a second time, and then begins with a flush.
func TestRunTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e, err := local.New(r.js, r.config())
	fatal(t, err)
	for i := range 2 {
		r.publish(10*i, 10*i+10)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		r.gone()
		r.until(e, "consumer", func(s local.Stats) bool { return s.Consumers == int64(i+1) })
		cancel()
		fatal(t, <-ended)
	}
	if order := r.cache.order(); slices.Contains(order, "user:0") {
		t.Errorf("evicted %v", order)
	}
}
