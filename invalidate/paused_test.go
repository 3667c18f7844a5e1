package invalidate_test

import (
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// A paused consumer delivers nothing. Its invalidator reports the pause and keeps running. Another invalidator that
// starts meanwhile does not end the pause. After outbox resume, the consumer processes the messages that arrived
// meanwhile.
func TestPausedConsumer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg := r.config()
	cfg.Echo = []time.Duration{time.Second}
	v := r.invalidator(cfg)
	stop := r.run(v)
	r.fill(0, 10)
	r.publish(0, 10)
	r.settled()
	names, err := invalidate.Consumers(t.Context(), r.js, r.stream)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "consumers", names, []string{"invalidate-echo-1s", durable})

	for _, name := range names {
		if _, err := r.js.PauseConsumer(t.Context(), r.stream, name, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	paused := func(s invalidate.Stats) bool {
		return !s.PausedUntil.IsZero() && len(s.Echoes) == 1 && !s.Echoes[0].PausedUntil.IsZero()
	}
	r.until(v, "pause reported", paused)
	r.fill(10, 20)
	r.publish(10, 20)
	if err := stop(); err != nil { // takes as long as the pull request is open, and processes its messages
		t.Fatal(err)
	}
	same(t, "keys left", r.left(), 20)

	v = r.invalidator(cfg)
	r.run(v)
	r.until(v, "pause reported by the next invalidator", paused)
	same(t, "keys left", r.left(), 20)
	for _, name := range names {
		if _, err := r.js.ResumeConsumer(t.Context(), r.stream, name); err != nil {
			t.Fatal(err)
		}
	}
	r.settled()
	r.until(v, "end of the pause reported", func(s invalidate.Stats) bool {
		return s.PausedUntil.IsZero() && s.Echoes[0].PausedUntil.IsZero() && s.RedisErrors == 0 && s.Events == 10
	})
}
