package local_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/invalidate/local"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func TestMain(m *testing.M) { devtest.Main(m) }

const (
	patience    = 60 * time.Second // for what should take milliseconds, on a busy machine
	repeatAfter = 50 * time.Millisecond
)

// A rig is one stream, the rules for it, and a cache that records each call. Event i has the subject
// <stream>.users.<i>.updated and makes the key user:<i> stale.
type rig struct {
	t      testing.TB
	js     jetstream.JetStream // to publish, and to read the stream
	stream string
	rules  *rules.Set
	cache  *cache
	log    logbook
}

func newRig(t testing.TB) *rig {
	t.Helper()
	return newRigOn(t, devtest.Conn(t), devtest.Stream(t))
}

func newRigOn(t testing.TB, conn *nats.Conn, stream string) *rig {
	t.Helper()
	r := &rig{t: t, js: jetStream(t, conn), stream: stream, cache: newCache()}
	r.makeStream()
	r.rules = parse(t, fmt.Sprintf(`
rules:
  - {subject: %[1]s.users.*.updated, keys: ["user:$1"]}
  - {subject: %[1]s.carts.*, keys: ["carts", "cart:${payload.cart}"]}
  - {subject: %[1]s.groups.*, keys: ["group:$1"], tags: ["members:$1"]}
`, stream))
	return r
}

func (r *rig) makeStream() {
	r.t.Helper()
	devtest.Eventually(r.t, patience, "stream created", func() error { // the server may still be removing the previous one
		_, err := r.js.CreateStream(r.t.Context(), jetstream.StreamConfig{
			Name: r.stream, Subjects: []string{r.stream + ".>", event.ParkedPrefix + r.stream},
		})
		return err
	})
}

func jetStream(t testing.TB, conn *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(conn)
	fatal(t, err)
	return js
}

// connect returns a connection that reconnects quickly.
func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0))
	fatal(t, err)
	t.Cleanup(conn.Close)
	return conn
}

// breakable returns a connection through a proxy.
func (r *rig) breakable() (jetstream.JetStream, *faultnet.Proxy) {
	r.t.Helper()
	proxy, err := faultnet.Listen(strings.TrimPrefix(r.js.Conn().ConnectedUrl(), "nats://"))
	fatal(r.t, err)
	r.t.Cleanup(func() { fatal(r.t, proxy.Close()) })
	return jetStream(r.t, connect(r.t, "nats://"+proxy.Addr())), proxy
}

func parse(t testing.TB, text string) *rules.Set {
	t.Helper()
	set, err := rules.Parse("rules.yaml", []byte(text))
	fatal(t, err)
	return set
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) config() local.Config {
	return local.Config{
		Stream: r.stream, Rules: r.rules, Evict: r.cache.evict, Flush: r.cache.flush, RepeatAfter: repeatAfter,
		Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
	}
}

// start runs an evictor until the test ends or calls stop, and returns when the evictor has its consumer.
func (r *rig) start(js jetstream.JetStream, cfg local.Config) (e *local.Evictor, stop func()) {
	r.t.Helper()
	e, stop = r.run(js, cfg)
	devtest.Eventually(r.t, patience, "healthy", func() error {
		if !e.Healthy() {
			return fmt.Errorf("stats are %+v", e.Stats())
		}
		return nil
	})
	return e, stop
}

func (r *rig) run(js jetstream.JetStream, cfg local.Config) (e *local.Evictor, stop func()) {
	r.t.Helper()
	e, err := local.New(js, cfg)
	fatal(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				r.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			r.t.Error("Run did not return")
		}
	})
	r.t.Cleanup(stop)
	return e, stop
}

// publish puts the keys of events from to to-1 into the cache and publishes the events, as the relay does.
func (r *rig) publish(from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		r.cache.set(fmt.Sprintf("user:%d", i), "old")
		r.send(&event.Event{Subject: fmt.Sprintf("%s.users.%d.updated", r.stream, i), Payload: []byte(`{}`)})
	}
	r.sent()
}

func (r *rig) send(e *event.Event) {
	r.t.Helper()
	e.ID = uuid.New()
	msg := &nats.Msg{Subject: e.Subject, Header: nats.Header{}, Data: e.Payload}
	e.SetHeaders(msg.Header)
	_, err := r.js.PublishMsgAsync(msg, jetstream.WithStallWait(patience))
	fatal(r.t, err)
}

func (r *rig) sent() {
	r.t.Helper()
	select {
	case <-r.js.PublishAsyncComplete():
	case <-time.After(patience):
		r.t.Fatal("publish: want an ack for each message, got none in time")
	}
}

func (r *rig) until(e *local.Evictor, what string, cond func(local.Stats) bool) {
	r.t.Helper()
	devtest.Eventually(r.t, patience, what, func() error {
		if s := e.Stats(); !cond(s) {
			return fmt.Errorf("stats are %+v", s)
		}
		return nil
	})
}

// gone waits until the cache is empty.
func (r *rig) gone() {
	r.t.Helper()
	devtest.Eventually(r.t, patience, "cache empty", func() error {
		if left := r.cache.left(); len(left) > 0 {
			return fmt.Errorf("%d left: %v", len(left), left[:min(5, len(left))])
		}
		return nil
	})
}

// A cache is a map that records each call and its time.
type cache struct {
	mu     sync.Mutex
	values map[string]string
	calls  []call
}

type call struct {
	what string // key, or "flush", or "tag " + tag
	at   time.Time
}

func newCache() *cache { return &cache{values: make(map[string]string)} }

func (c *cache) record(what string, change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call{what, time.Now()})
	change()
}

func (c *cache) evict(key string)    { c.record(key, func() { delete(c.values, key) }) }
func (c *cache) evictTag(tag string) { c.record("tag "+tag, func() {}) }
func (c *cache) flush()              { c.record("flush", func() { clear(c.values) }) }

func (c *cache) set(key, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[key] = value
}

func (c *cache) left() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []string
	for key := range c.values {
		keys = append(keys, key)
	}
	return keys
}

// of returns the times of the calls for a key, "tag " and a tag, or "flush".
func (c *cache) of(what string) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var at []time.Time
	for _, call := range c.calls {
		if call.what == what {
			at = append(at, call.at)
		}
	}
	return at
}

// order returns the keys and tags in the order of their first calls, without flushes.
func (c *cache) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for _, call := range c.calls {
		if call.what != "flush" && !slices.Contains(list, call.what) {
			list = append(list, call.what)
		}
	}
	return list
}

// times waits for n calls of a kind and returns their times.
func (r *rig) times(what string, n int) []time.Time {
	r.t.Helper()
	devtest.Eventually(r.t, patience, what, func() error {
		if got := len(r.cache.of(what)); got < n {
			return fmt.Errorf("%d times, want %d", got, n)
		}
		return nil
	})
	return r.cache.of(what)
}

// A logbook keeps the log lines.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) has(part string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !strings.Contains(l.text.String(), part) {
		return fmt.Errorf("want %q in the log, got\n%s", part, l.text.String())
	}
	return nil
}
