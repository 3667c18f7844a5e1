package invalidate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func (r *rig) bought(user int, payload string) *event.Event {
	return &event.Event{
		Subject: fmt.Sprintf("%s.bought.%d", r.stream, user), Payload: []byte(payload),
		Headers: map[string]string{"Trace": "abc"}, Position: 1, CreatedAt: time.Now(),
	}
}

func TestPoisonGoesToTheDeadLetters(t *testing.T) {
	t.Parallel()
	const n = 500
	r := newRig(t)
	r.fill(0, n)
	r.publish(0, n/2)
	events := []*event.Event{
		r.bought(9001, `not json`), r.bought(9002, `{}`), r.bought(9003, `{"cart": null}`), r.bought(9004, `{"cart": {"id": 1}}`),
	}
	// Only the poison events name these keys.
	for user := 9001; user <= 9004; user++ {
		fatal(t, r.rdb.Set(t.Context(), fmt.Sprintf("%suser:%d:orders", r.prefix, user), "old", 0).Err())
	}
	for _, e := range events {
		r.publishEvent(e)
	}
	r.publish(n/2, n)
	v := r.invalidator(r.config())
	r.run(v)
	r.settled()
	r.until(v, "all processed", func(s invalidate.Stats) bool { return s.Events == n && s.Dead == 4 })

	letters := r.deadLetters()
	if len(letters) != 4 {
		t.Fatalf("%d dead letters", len(letters))
	}
	for i, reason := range []string{
		`rules[1] (` + r.stream + `.bought.*), key "cart:${payload.cart}": payload is not JSON`, `"payload.cart" is missing`,
		`"payload.cart" is null; want a string, number or boolean`, `"payload.cart" is an object; want`,
	} {
		letter, h := letters[i], letters[i].Header
		contains(t, "reason", h.Get(event.HeaderDeadReason), reason)
		same(t, "subject", letter.Subject, "_OUTBOX.dead."+r.stream)
		same(t, "body", string(letter.Data), string(events[i].Payload))
		same(t, "dead headers", []string{h.Get(event.HeaderDeadConsumer), h.Get(event.HeaderDeadSubject), h.Get(event.HeaderDeadSequence)},
			[]string{durable, events[i].Subject, fmt.Sprint(n/2 + i + 1)})
		contains(t, "message id", h.Get("Nats-Msg-Id"), fmt.Sprintf("%s:%d:%s:", r.stream, n/2+i+1, durable))
		if at, err := time.Parse(time.RFC3339Nano, h.Get(event.HeaderDeadTime)); err != nil || time.Since(at) > patience {
			t.Errorf("time: %v, %v", at, err)
		}
		// The dead letter contains the event unchanged.
		e, err := event.Parse(h.Get(event.HeaderDeadSubject), h, letter.Data)
		if err != nil || e.ID != events[i].ID || e.Headers["Trace"] != "abc" {
			t.Errorf("event of the dead letter: %+v, %v", e, err)
		}
	}
	config, err := r.js.Stream(t.Context(), r.stream+"_DEAD")
	fatal(t, err)
	c := config.CachedInfo().Config
	same(t, "dead-letter stream", []any{c.Storage, c.Retention, c.MaxAge, c.Duplicates},
		[]any{jetstream.FileStorage, jetstream.LimitsPolicy, 0 * time.Second, 2 * time.Minute})
}

// If an invalidator dies between the dead letter and the Term, the redelivered event does not become a second dead
// letter.
func TestRedeliveredPoisonIsOneDeadLetter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publishEvent(r.bought(1, `{}`))
	r.published()
	cfg := r.config()
	if _, err := r.invalidator(cfg).Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A new consumer delivers it again, as if the Term had not arrived.
	fatal(t, r.js.DeleteConsumer(t.Context(), r.stream, durable))
	if n, err := r.invalidator(cfg).Step(t.Context()); n != 1 || err != nil {
		t.Fatalf("step: %d, %v", n, err)
	}
	r.settled()
	same(t, "dead letters", len(r.deadLetters()), 1)
}

// A stream that is deleted and created again within the dedupe window has another event at the same sequence.
func TestPoisonOfARecreatedStreamIsAnotherDeadLetter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 2 {
		r.publishEvent(r.bought(1, `{}`))
		r.published()
		if n, err := r.invalidator(r.config()).Step(t.Context()); n != 1 || err != nil {
			t.Fatalf("step: %d, %v", n, err)
		}
		r.settled()
		fatal(t, r.js.DeleteStream(t.Context(), r.stream))
		r.makeStream()
	}
	same(t, "dead letters", len(r.deadLetters()), 2)
}

// Invalid outbox headers make an event poison, but its keys are deleted.
func TestUnreadableHeadersArePoison(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.fill(5, 6)
	msg := nats.NewMsg(r.stream + ".users.5.updated")
	msg.Header.Set(event.HeaderEventID, "not a uuid")
	msg.Header.Set("Nats-Msg-Id", uuid.NewString())
	r.publishMsg(msg)
	r.published()
	v := r.invalidator(r.config())
	r.run(v)
	r.settled()
	r.until(v, "dead", func(s invalidate.Stats) bool { return s.Dead == 1 && s.Deleted == 2 })
	contains(t, "reason", r.deadLetters()[0].Header.Get(event.HeaderDeadReason), "not a uuid")
}

// A dead-letter stream that does not take poison events delays no other event, and receives them when it works again.
func TestDeadLetterStreamUnavailable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: r.stream + "_DEAD", Subjects: []string{r.stream + "_WRONG"}})
	fatal(t, err)
	cfg := r.config()
	cfg.AckWait = time.Second
	var log logbook
	cfg.Logger = log.logger()
	v := r.invalidator(cfg)
	r.run(v)
	r.publishEvent(r.bought(1, `{}`))
	r.fill(0, 100)
	r.publish(0, 100)
	r.until(v, "the other events processed", func(s invalidate.Stats) bool { return s.Events == 100 && s.DeadErrors > 1 })
	same(t, "dead", v.Stats().Dead, 0)
	same(t, "not acknowledged", r.consumer(durable).NumAckPending, 1)
	same(t, "keys left", r.left(), 0)
	same(t, "log lines", log.count("dead-letter stream does not take poison events"), 1)

	fatal(t, r.js.DeleteStream(t.Context(), r.stream+"_DEAD"))
	r.settled()
	same(t, "dead letters", len(r.deadLetters()), 1)
}
