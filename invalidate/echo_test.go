package invalidate_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// echoes returns a configuration with these delays.
func (r *rig) echoes(delays ...time.Duration) invalidate.Config {
	cfg := r.config()
	cfg.Echo = delays
	return cfg
}

// A reader that read the old row before the change fills the cache after the first deletion. The echo deletes that
// value.
func TestEchoDeletesValuesOfSlowReaders(t *testing.T) {
	t.Parallel()
	const n, delay = 200, 1500 * time.Millisecond
	r := newRig(t)
	cfg := r.echoes(delay)
	var mu sync.Mutex
	published := make(map[int64]time.Time)
	cfg.Observe = func(d invalidate.Done) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range d.Events {
			if at := published[e.Position]; d.Delay > 0 && d.Unlinked.Before(at.Add(delay)) {
				t.Errorf("the echo of event %d came %s after it; want at least %s", e.Position, d.Unlinked.Sub(at), delay)
			}
		}
	}
	v := r.invalidator(cfg)
	r.run(v)
	r.fill(0, n)
	for i := range n {
		mu.Lock()
		published[int64(i+1)] = time.Now() // not later than the stream stores it
		mu.Unlock()
		r.publish(i, i+1)
	}
	r.settled()
	r.fill(0, n) // after the first deletion
	r.until(v, "echoed", func(s invalidate.Stats) bool { return s.Echoes[0].Events == n })
	same(t, "keys left", r.left(), 0)
	s := v.Stats()
	same(t, "deleted at once and by the echo", []int64{s.Deleted, s.Echoes[0].Deleted}, []int{2 * n, 2 * n})
	same(t, "consumer", s.Echoes[0].Consumer, "invalidate-echo-1500ms")
	same(t, "redelivered", s.Echoes[0].Redelivered, 0)
}

// Events of a backlog that is older than the delay do not wait.
func TestEchoOfABacklogDoesNotWait(t *testing.T) {
	t.Parallel()
	const n = 3000
	r := newRig(t)
	r.publish(0, n)
	var last time.Time
	devtest.Eventually(t, patience, "backlog older than the delay", func() error {
		stream, err := r.js.Stream(t.Context(), r.stream)
		fatal(t, err)
		info := stream.CachedInfo()
		last = info.State.LastTime
		if age := info.TimeStamp.Sub(last); age < 3*time.Second {
			return fmt.Errorf("age %s", age)
		}
		return nil
	})
	v := r.invalidator(r.echoes(2 * time.Second))
	began := time.Now()
	r.run(v)
	r.until(v, "echoed", func(s invalidate.Stats) bool { return s.Echoes[0].Events == n })
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("the echo took %s; want less than its delay of 2s", d)
	}
}

// A rule may declare its own delays. Each delay has a consumer.
func TestRulesDeclareTheirEchoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.rules = parse(t, fmt.Sprintf(`
rules:
  - {subject: %[1]s.users.*.updated, prefix: [%[2]q], keys: ["user:$1:profile"], echo: [50ms, 400ms]}
  - {subject: %[1]s.users.*.updated, prefix: [%[2]q], keys: ["user:$1:orders"], echo: off}
  - {subject: %[1]s.bought.*, prefix: [%[2]q], keys: ["cart:$1"]}
`, r.stream, r.prefix))
	v := r.invalidator(r.echoes(100 * time.Millisecond))
	r.run(v)
	r.publish(0, 10)
	r.publishEvent(&event.Event{Subject: r.stream + ".bought.1"})
	r.published()
	r.until(v, "all echoes", func(s invalidate.Stats) bool {
		return s.Events == 11 && s.Echoes[0].Events == 11 && s.Echoes[1].Events == 11 && s.Echoes[2].Events == 11
	})
	var keys []string
	for _, e := range v.Stats().Echoes {
		keys = append(keys, fmt.Sprint(e.Delay, e.Keys))
	}
	same(t, "keys by delay", keys, "[50ms 10 100ms 1 400ms 10]")
}

// When an invalidator stops, it gives the events that wait for their echo back to the server, so that another one
// receives them before AckWait is over.
func TestStopGivesWaitingEchoesBack(t *testing.T) {
	t.Parallel()
	const n = 500
	r := newRig(t)
	cfg := r.echoes(3 * time.Second)
	first := r.invalidator(cfg)
	stop := r.run(first)
	r.publish(0, n)
	r.until(first, "deleted at once", func(s invalidate.Stats) bool { return s.Events == n })
	devtest.Eventually(t, patience, "the echo has them in hand", func() error {
		if info := r.consumer("invalidate-echo-3s"); info.NumAckPending < n {
			return fmt.Errorf("%d", info.NumAckPending)
		}
		return nil
	})
	fatal(t, stop())
	r.fill(0, n)
	second := r.invalidator(cfg)
	r.run(second)
	r.until(second, "all echoes", func(s invalidate.Stats) bool { return s.Echoes[0].Events+first.Stats().Echoes[0].Events == n })
	same(t, "keys left", r.left(), 0)
}

// A new delay starts with the events whose echo is not due yet, not with the first event of the stream.
func TestNewEchoStartsInTheRecentPast(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.invalidator(r.config())
	stop := r.run(v)
	r.publish(0, 10)
	r.settled()
	fatal(t, stop())
	v = r.invalidator(r.echoes(100 * time.Millisecond))
	r.run(v)
	r.until(v, "echoed", func(s invalidate.Stats) bool { return s.Echoes[0].Events == 10 })
	c := r.consumer("invalidate-echo-100ms").Config
	floor := r.consumer(durable).AckFloor.Last
	if c.DeliverPolicy != jetstream.DeliverByStartTimePolicy || floor.Sub(*c.OptStartTime) < time.Minute {
		t.Errorf("starts at %v with policy %s, last ack at %s; want a start at least 1m before the last ack", c.OptStartTime, c.DeliverPolicy, floor)
	}
}

// Rules are replaced while events arrive. Each event is resolved by the old or the new rules, and none is lost.
func TestReload(t *testing.T) {
	t.Parallel()
	const n = 3000
	r := newRig(t)
	v := r.invalidator(r.echoes(200 * time.Millisecond))
	r.run(v)
	r.fill(0, n)
	wider := parse(t, fmt.Sprintf(`
rules:
  - {subject: %[1]s.users.*.updated, prefix: [%[2]q], keys: ["user:$1:profile", "user:$1:orders"], echo: [100ms, 300ms]}
  - {subject: %[1]s.new.*, prefix: [%[2]q], keys: ["new:$1"]}
`, r.stream, r.prefix))
	for i := range n / 100 {
		r.publish(100*i, 100*i+100)
		if i%10 == 5 {
			set := wider
			if i%20 == 5 {
				set = r.rules
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			fatal(t, v.Reload(ctx, set))
			cancel()
		}
	}
	fatal(t, v.Reload(t.Context(), wider))
	r.publishEvent(&event.Event{Subject: r.stream + ".new.1"})
	r.published()
	r.settled()
	r.until(v, "the new rule", func(s invalidate.Stats) bool { return s.Events >= n+1 })
	r.until(v, "echoes", func(s invalidate.Stats) bool {
		return s.Echoes[0].Delay == 100*time.Millisecond && s.Echoes[0].Events > 0
	})
	for _, name := range []string{"invalidate-echo-100ms", "invalidate-echo-300ms"} {
		devtest.Eventually(t, patience, name, func() error {
			if info := r.consumer(name); info.NumPending+uint64(info.NumAckPending) > 0 {
				return fmt.Errorf("%d pending, %d not acknowledged", info.NumPending, info.NumAckPending)
			}
			return nil
		})
	}
	same(t, "unmatched", v.Stats().Unmatched, 0)
}

// A poison event is dead-lettered once. Its echo deletes the keys that can be resolved, and acknowledges it.
func TestEchoDeadLettersNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.invalidator(r.echoes(50 * time.Millisecond))
	r.run(v)
	r.publishEvent(&event.Event{Subject: r.stream + ".bought.7", Payload: []byte(`{}`)}) // has no cart
	r.published()
	r.acknowledged(durable)
	r.acknowledged("invalidate-echo-50ms")
	same(t, "dead letters", len(r.deadLetters()), 1)
	same(t, "keys that could be resolved", v.Stats().Echoes[0].Keys, 1)
}

// When the connection to NATS breaks, the waiting echoes are still processed when they are due, not after AckWait.
func TestEchoSurvivesALostConnection(t *testing.T) {
	t.Parallel()
	const n = 100
	server := devtest.OwnNATS(t)
	conn, err := nats.Connect(server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	fatal(t, err)
	t.Cleanup(conn.Close)
	r := &rig{t: t, js: jetStream(t, conn), rdb: devtest.RedisClient(t), stream: "OUTBOX"}
	r.finish()
	cfg := r.echoes(3 * time.Second)
	cfg.AckWait = time.Hour
	v := r.invalidator(cfg)
	r.run(v)
	r.publish(0, n)
	r.until(v, "deleted at once", func(s invalidate.Stats) bool { return s.Events == n })
	devtest.Eventually(t, patience, "the echo has them in hand", func() error {
		if info := r.consumer("invalidate-echo-3s"); info.NumAckPending < n {
			return fmt.Errorf("%d", info.NumAckPending)
		}
		return nil
	})
	r.fill(0, n)
	fatal(t, server.Stop())
	fatal(t, server.Start())
	r.until(v, "echoed", func(s invalidate.Stats) bool { return s.Echoes[0].Events == n })
	same(t, "keys left", r.left(), 0)
	r.acknowledged("invalidate-echo-3s")
}
