package invalidate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// patience is how long a test waits, on a busy machine, for something that normally happens at once.
const patience = 60 * time.Second

// A rig is one stream, one cache, and rules that connect them. Event i has the subject <stream>.users.<i>.updated and
// makes two keys stale.
type rig struct {
	t      testing.TB
	js     jetstream.JetStream
	rdb    *redis.Client
	stream string
	prefix string
	rules  *rules.Set
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, js: jetStream(t, devtest.Conn(t)), rdb: devtest.RedisClient(t), stream: devtest.Stream(t)}
	dead := r.stream + "_DEAD"
	t.Cleanup(func() {
		if err := r.js.DeleteStream(context.Background(), dead); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("delete stream %s: %v", dead, err)
		}
	})
	r.finish()
	return r
}

// finish creates the stream and the rules.
func (r *rig) finish() {
	r.t.Helper()
	r.prefix = devtest.Prefix(r.t)
	r.makeStream()
	r.rules = parse(r.t, fmt.Sprintf(`
rules:
  - subject: %[1]s.users.*.updated
    prefix: [%[2]q]
    keys: ["user:$1:profile", "user:$1:orders"]
  - subject: %[1]s.bought.*
    prefix: [%[2]q]
    keys: ["user:$1:orders", "cart:${payload.cart}"]
`, r.stream, r.prefix))
}

func (r *rig) makeStream() {
	r.t.Helper()
	_, err := r.js.CreateStream(r.t.Context(), jetstream.StreamConfig{
		Name: r.stream, Subjects: []string{r.stream + ".>", event.ParkedPrefix + r.stream},
	})
	if err != nil {
		r.t.Fatalf("create stream: %v", err)
	}
}

func jetStream(t testing.TB, conn *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func parse(t testing.TB, text string) *rules.Set {
	t.Helper()
	set, err := rules.Parse("rules.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// config returns a configuration without echoes and redeliveries.
func (r *rig) config() invalidate.Config {
	return invalidate.Config{Stream: r.stream, Rules: r.rules, Echo: []time.Duration{}, RedeliveryWindow: -1}
}

func (r *rig) invalidator(cfg invalidate.Config) *invalidate.Invalidator {
	r.t.Helper()
	v, err := invalidate.New(r.js, r.rdb, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// run runs an invalidator until the test ends or stop is called. stop returns the error of Run.
func (r *rig) run(v *invalidate.Invalidator) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	var err error
	stopped := false
	stop = func() error {
		if cancel(); !stopped {
			stopped = true
			select {
			case err = <-ended:
			case <-time.After(patience):
				err = errors.New("Run did not return")
			}
		}
		return err
	}
	r.t.Cleanup(func() {
		if err := stop(); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	return stop
}

// fill sets the keys of events from to to-1. They have no TTL, so that only a deletion removes them.
func (r *rig) fill(from, to int) {
	r.t.Helper()
	pipe := r.rdb.Pipeline()
	for i := from; i < to; i++ {
		pipe.Set(r.t.Context(), fmt.Sprintf("%suser:%d:profile", r.prefix, i), "old", 0)
		pipe.Set(r.t.Context(), fmt.Sprintf("%suser:%d:orders", r.prefix, i), "old", 0)
	}
	if _, err := pipe.Exec(r.t.Context()); err != nil {
		r.t.Fatalf("fill cache: %v", err)
	}
}

// publish publishes events from to to-1 as the relay would.
func (r *rig) publish(from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		r.publishEvent(&event.Event{
			Subject: fmt.Sprintf("%s.users.%d.updated", r.stream, i), Key: fmt.Sprint(i),
			Payload: []byte(`{}`), Position: int64(i + 1), CreatedAt: time.Now(),
		})
	}
	r.published()
}

// publishEvent publishes one event with a new ID, and does not wait for its ack; published does.
func (r *rig) publishEvent(e *event.Event) {
	r.t.Helper()
	e.ID = uuid.New()
	msg := &nats.Msg{Subject: e.Subject, Header: nats.Header{}, Data: e.Payload}
	e.SetHeaders(msg.Header)
	r.publishMsg(msg)
}

func (r *rig) publishMsg(msg *nats.Msg) {
	r.t.Helper()
	if _, err := r.js.PublishMsgAsync(msg, jetstream.WithStallWait(patience)); err != nil {
		r.t.Fatalf("publish: %v", err)
	}
}

func (r *rig) published() {
	r.t.Helper()
	select {
	case <-r.js.PublishAsyncComplete():
	case <-time.After(patience):
		r.t.Fatal("publish: missing acks")
	}
}

// left returns the number of keys of the rig in the cache.
func (r *rig) left() int {
	r.t.Helper()
	n := 0
	keys := r.rdb.Scan(r.t.Context(), 0, r.prefix+"*", 1000).Iterator()
	for keys.Next(r.t.Context()) {
		n++
	}
	if err := keys.Err(); err != nil {
		r.t.Fatalf("scan cache: %v", err)
	}
	return n
}

func (r *rig) consumer(durable string) *jetstream.ConsumerInfo {
	r.t.Helper()
	cons, err := r.js.Consumer(r.t.Context(), r.stream, durable)
	if err != nil {
		r.t.Fatalf("read consumer: %v", err)
	}
	return cons.CachedInfo()
}

const durable = "invalidate-now"

// settled waits until no key is left and every message is acknowledged.
func (r *rig) settled() {
	r.t.Helper()
	devtest.Eventually(r.t, patience, "all keys gone and all events acknowledged", func() error {
		cons, err := r.js.Consumer(r.t.Context(), r.stream, durable)
		if err != nil {
			return err
		}
		info := cons.CachedInfo()
		if info.NumPending > 0 || info.NumAckPending > 0 {
			return fmt.Errorf("%d pending, %d not acknowledged", info.NumPending, info.NumAckPending)
		}
		if n := r.left(); n > 0 {
			return fmt.Errorf("%d keys left", n)
		}
		return nil
	})
}

// deadLetters returns the dead letters in the order of the stream.
func (r *rig) deadLetters() []*jetstream.RawStreamMsg {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), r.stream+"_DEAD")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		r.t.Fatalf("read dead-letter stream: %v", err)
	}
	var letters []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(r.t.Context(), seq)
		if err != nil {
			r.t.Fatalf("get dead letter: %v", err)
		}
		letters = append(letters, msg)
	}
	return letters
}

func (r *rig) noDeadLetters() {
	r.t.Helper()
	for _, msg := range r.deadLetters() {
		r.t.Errorf("dead letter: %s", msg.Header.Get(event.HeaderDeadReason))
	}
}

// until waits until the stats of an invalidator meet a condition.
func (r *rig) until(v *invalidate.Invalidator, what string, cond func(invalidate.Stats) bool) {
	r.t.Helper()
	devtest.Eventually(r.t, patience, what, func() error {
		if s := v.Stats(); !cond(s) {
			return fmt.Errorf("stats: %+v", s)
		}
		return nil
	})
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

func contains(t testing.TB, what, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%s: got %q, want it to contain %q", what, text, part)
	}
}
