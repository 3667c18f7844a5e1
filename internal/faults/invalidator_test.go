package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// testInvalidators has two invalidators share the work. One of them is killed, or stopped for less or more than
// --ack-wait.
func testInvalidators(t *testing.T) {
	runScenario(t, "two invalidators share a consumer, one is killed or stopped (SIGSTOP) at random, under load", options{}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 101))
		both := [2]*program{s.startInvalidator(""), s.startInvalidator("")}
		s.startRelay("relay", "")
		l := s.startLoad(8, 2*time.Millisecond, false)
		s.measureInvalidation(time.Now())
		s.row.recoveries = nil // the first measurement contains the start of the programs
		for n := range times(6, 40) {
			i, began := rng.IntN(2), time.Now()
			if rng.IntN(2) == 0 {
				both[i].Kill()
				both[i] = s.startInvalidator("")
			} else {
				both[i].signal(syscall.SIGSTOP)
				pause(t.Context(), time.Duration(rng.IntN(1500))*time.Millisecond)
				both[i].signal(syscall.SIGCONT)
			}
			if s.row.faults++; n%3 == 0 {
				s.measureInvalidation(began)
			}
		}
		l.stop()
		s.verify()
		s.checkNoDeadLetters()
	})
}

// testInvalidatorKills kills the invalidator after it deleted keys and before it acknowledged their events, which NATS
// then delivers again.
func testInvalidatorKills(t *testing.T) {
	runScenario(t, "invalidator: kill -9 between UNLINK and ack, under load", options{}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 102))
		s.startRelay("relay", "")
		l := s.startLoad(8, 2*time.Millisecond, false)
		for i := range times(4, 20) {
			n := 1
			if i%2 == 1 {
				n += rng.IntN(30)
			}
			before := s.ackFloor()
			s.awaitCrash(s.startInvalidator(fmt.Sprintf("unlinked:%d", n)))
			if after := s.ackFloor(); n == 1 && after != before {
				t.Errorf("ack floor rose from %d to %d before the first ack, want no change", before, after)
			}
		}
		s.startInvalidator("")
		s.measureInvalidation(time.Now())
		l.stop()
		s.verify()
		s.checkNoDeadLetters()
	})
}

// ackFloor returns the sequence up to which the invalidators have acknowledged every event, 0 before the first one
// starts.
func (s *scenario) ackFloor() (seq uint64) {
	s.t.Helper()
	s.eventually(60*time.Second, "ack floor read", func(ctx context.Context) error {
		c, err := s.js.Consumer(ctx, s.stream, "invalidate-now")
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil
		}
		if err == nil {
			seq = c.CachedInfo().AckFloor.Stream
		}
		return err
	})
	return seq
}

// testDeadLetterKills kills the invalidator after it stored a dead letter and before it terminated the event. Each dead
// letter must still be stored once.
func testDeadLetterKills(t *testing.T) {
	runScenario(t, "invalidator: kill -9 between storing a dead letter and terminating its event", options{}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 103))
		s.writeRules("  - subject: {stream}.account.*\n    keys: [\"{prefix}$1\"]\n" +
			"  - subject: {stream}.cart.*\n    keys: [\"{prefix}$1\", \"{prefix}cart:${payload.cart}\"]\n")
		s.startRelay("relay", "")
		l := s.startLoad(4, 3*time.Millisecond, false)
		dead := 0
		for range times(4, 20) {
			n := 1 + rng.IntN(5)
			s.exec(`INSERT INTO outbox.event (subject, payload) SELECT $1 || g, '{}' FROM generate_series(1, $2::int) g`,
				s.stream+".cart.", n)
			dead += n
			s.awaitCrash(s.startInvalidator(fmt.Sprintf("buried:%d", 1+rng.IntN(n))))
		}
		s.startInvalidator("")
		s.measureInvalidation(time.Now())
		l.stop()
		s.verify()
		seen := make(map[string]bool)
		letters := s.deadLetters()
		for _, letter := range letters {
			seen[letter.Header.Get(event.HeaderDeadSequence)] = true
		}
		if len(letters) != dead || len(seen) != dead {
			t.Errorf("got %d dead letters of %d events, want %d", len(letters), len(seen), dead)
		}
		s.row.note = fmt.Sprintf("%d dead letters, each once", dead)
	})
}

// testInvalidatorBacklog starts an invalidator when many events wait for it.
func testInvalidatorBacklog(t *testing.T) {
	n := times(50_000, 300_000)
	runScenario(t, fmt.Sprintf("invalidator: started with a backlog of %d events", n), options{}, func(s *scenario) {
		s.writeRules("  - subject: {stream}.>\n    keys: [\"{prefix}${key}\"]\n")
		s.insertBacklog(n)
		s.startRelay("relay", "")
		s.eventually(8*time.Minute, "every event published", func(ctx context.Context) error {
			status, err := s.table.Status(ctx, s.pool, s.stream)
			if err == nil && status.Pending+int64(n)-status.Planned > 0 {
				err = fmt.Errorf("%d pending, %d planned", status.Pending, status.Planned)
			}
			return err
		})
		began := time.Now()
		p := s.startInvalidator("")
		s.row.faults++
		s.eventually(8*time.Minute, "every event consumed", func(ctx context.Context) error {
			c, err := s.js.Consumer(ctx, s.stream, "invalidate-now")
			if err == nil && c.CachedInfo().AckFloor.Stream < uint64(n) {
				err = fmt.Errorf("got ack floor %d, want %d", c.CachedInfo().AckFloor.Stream, n)
			}
			return err
		})
		took := time.Since(began)
		s.verify()
		s.row.note = fmt.Sprintf("consumed in %s with %d MiB", short(took), checkMemory(t, p)[0])
	})
}
