package invalidate_test

import (
	"context"
	"errors"
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

func TestRunDeletesTheKeysOfEveryEvent(t *testing.T) {
	t.Parallel()
	const n = 3000
	r := newRig(t)
	var mu sync.Mutex
	events, keys, deleted := 0, 0, 0
	cfg := r.config()
	cfg.Observe = func(d invalidate.Done) {
		mu.Lock()
		defer mu.Unlock()
		events, keys, deleted = events+len(d.Events), keys+d.Keys, deleted+d.Deleted
		for i := range d.Events {
			if e := &d.Events[i]; e.CreatedAt.IsZero() || d.Unlinked.Before(e.CreatedAt) {
				t.Errorf("event %d: created %s, unlinked %s; want unlinked later", e.Position, e.CreatedAt, d.Unlinked)
			}
		}
	}
	r.fill(0, n)
	r.publish(0, n/2) // a backlog
	v := r.invalidator(cfg)
	stop := r.run(v)
	r.publish(n/2, n) // and live
	r.settled()
	if err := stop(); err != nil {
		t.Fatalf("Run: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	same(t, "observed events, keys, deleted", []int{events, keys, deleted}, []int{n, 2 * n, 2 * n})
	s := v.Stats()
	same(t, "counted events, keys, deleted", []int64{s.Events, s.Keys, s.Deleted}, []int{n, 2 * n, 2 * n})
	same(t, "redelivered, errors", []int64{s.Redelivered, s.RedisErrors, s.AckErrors}, []int{0, 0, 0})
	if s.Lag <= 0 || s.Paused || time.Since(s.LastProgress) > patience {
		t.Errorf("stats: %+v", s)
	}
	r.noDeadLetters()
}

func TestRunProcessesASingleEventAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	done := make(chan invalidate.Done, 1)
	cfg := r.config()
	cfg.Observe = func(d invalidate.Done) { done <- d }
	r.run(r.invalidator(cfg))
	best := time.Hour
	for i := range 20 {
		r.fill(i, i+1)
		r.publish(i, i+1)
		select {
		case d := <-done:
			same(t, "deleted", d.Deleted, 2)
			best = min(best, d.Unlinked.Sub(d.Events[0].CreatedAt))
		case <-time.After(patience):
			t.Fatal("the event was not processed")
		}
	}
	if best > time.Second {
		t.Errorf("the fastest of 20 single events took %s; want at most 1s", best)
	}
}

func TestEqualKeysAreDeletedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill(7, 8)
	for range 5 {
		r.publish(7, 8)
	}
	v := r.invalidator(r.config())
	n, err := v.Step(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "messages, keys, deleted", []int64{int64(n), v.Stats().Keys, v.Stats().Deleted}, []int{5, 2, 2})
	if n, err := v.Step(t.Context()); n != 0 || err != nil {
		t.Errorf("second step: %d, %v", n, err)
	}
	r.settled()
}

// Messages that were delivered before the context ended are processed, and do not wait for AckWait.
func TestStopFinishesTheMessagesInHand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publish(0, 20_000)
	v := r.invalidator(r.config())
	stop := r.run(v)
	r.until(v, "processing", func(s invalidate.Stats) bool { return s.Events > 0 })
	fatal(t, stop())
	devtest.Eventually(t, 10*time.Second, "no message waits for AckWait", func() error { // the server may not have read all acks yet
		info := r.consumer(durable)
		if info.NumPending == 0 {
			t.Error("Run had processed the whole backlog before it was stopped")
		}
		if info.NumAckPending > 0 {
			return fmt.Errorf("%d not acknowledged", info.NumAckPending)
		}
		return nil
	})
}

// A marker is neither an event nor poison. A message of a foreign publisher is an event like any other.
func TestMarkersAndForeignMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.rules = parse(t, `rules: [{subject: ">", prefix: ["`+r.prefix+`"], keys: ["user:${subject}:profile", "user:3:orders"]}]`)
	r.fill(3, 4)
	r.rdb.Set(t.Context(), r.prefix+"user:"+r.stream+".foreign:profile", "old", 0)
	r.rdb.Del(t.Context(), r.prefix+"user:3:profile")
	marker := nats.NewMsg(event.ParkedPrefix + r.stream)
	marker.Header.Set(event.HeaderParked, "too large")
	r.publishMsg(marker)
	r.publishMsg(&nats.Msg{Subject: r.stream + ".foreign"})
	r.published()
	v := r.invalidator(r.config())
	r.run(v)
	r.settled()
	r.until(v, "one event", func(s invalidate.Stats) bool { return s.Events == 1 && s.Keys == 2 && s.Lag > 0 })
	r.noDeadLetters()
}

func TestTwoInvalidatorsShareOneDurable(t *testing.T) {
	t.Parallel()
	const n = 4000
	r := newRig(t)
	cfg := r.config()
	cfg.Batch = 16
	cfg.MaxAckPending = 256
	a, b := r.invalidator(cfg), r.invalidator(cfg)
	r.run(a)
	r.run(b)
	r.fill(0, n)
	r.publish(0, n)
	r.settled()
	devtest.Eventually(t, patience, "all events counted", func() error {
		if sum := a.Stats().Events + b.Stats().Events; sum != n {
			return fmt.Errorf("%d events", sum)
		}
		return nil
	})
	if a.Stats().Events == 0 || b.Stats().Events == 0 {
		t.Errorf("one invalidator was idle: %d and %d events", a.Stats().Events, b.Stats().Events)
	}
	same(t, "redelivered", a.Stats().Redelivered+b.Stats().Redelivered, 0)
}

func TestConsumerIsUpdatedToTheConfiguration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// An existing consumer keeps its start position; everything else is updated.
	_, err := r.js.CreateConsumer(t.Context(), r.stream, jetstream.ConsumerConfig{
		Durable: durable, DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		MaxDeliver: 3, BackOff: []time.Duration{time.Second, time.Minute}, FilterSubject: r.stream + ".other",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.invalidator(r.config()).Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := r.consumer(durable).Config
	same(t, "consumer", []any{c.DeliverPolicy, c.AckPolicy, c.MaxDeliver, len(c.BackOff), c.AckWait, c.MaxAckPending},
		[]any{jetstream.DeliverNewPolicy, jetstream.AckExplicitPolicy, -1, 0, 10 * time.Second, 8192})
	same(t, "filters", []any{c.FilterSubject, len(c.FilterSubjects)}, []any{"", 0}) // see the package documentation
}

// A message that no rule matches may have any content. It is not poison, and is acknowledged at once.
func TestIrrelevantMessagesAreAcknowledgedUnread(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	msg := nats.NewMsg(r.stream + ".elsewhere")
	msg.Header.Set(event.HeaderEventID, "not an id")
	msg.Data = []byte("not JSON")
	if _, err := r.js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	v := r.invalidator(r.config())
	n, err := v.Step(t.Context())
	fatal(t, err)
	s := v.Stats()
	same(t, "messages, events, unmatched, dead", []int64{int64(n), s.Events, s.Unmatched, s.Dead}, []int{1, 1, 1, 0})
	devtest.Eventually(t, patience, "acknowledged", func() error {
		if n := r.consumer(durable).NumAckPending; n > 0 {
			return fmt.Errorf("%d not acknowledged", n)
		}
		return nil
	})
}

func TestRunReturnsWhenTheServerRefusesTheConsumer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.js.CreateOrUpdatePushConsumer(t.Context(), r.stream, jetstream.ConsumerConfig{
		Durable: durable, DeliverSubject: r.stream + "_push", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.invalidator(r.config()).Run(t.Context()); err == nil {
		t.Error("Run returned nil although a push consumer has its name; want an error")
	}
}

func TestRunReturnsWhenTheConnectionIsClosed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := nats.Connect(devtest.NATS(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	v, err := invalidate.New(jetStream(t, conn), r.rdb, r.config())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- v.Run(context.Background()) }()
	r.fill(0, 1)
	r.publish(0, 1)
	r.settled()
	conn.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Error("Run did not return")
	}
}
