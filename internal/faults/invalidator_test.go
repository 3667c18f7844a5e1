package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Two share the work. One of them is killed, or stopped for shorter or longer than its events wait for it.
func testInvalidators(t *testing.T) {
	scenario(t, "two invalidators of one durable, one killed or stopped (SIGSTOP) at random, under load", options{}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 101))
		both := [2]*program{s.invalidator(""), s.invalidator("")}
		s.relay("relay", "")
		l := s.write(8, 2*time.Millisecond, false)
		s.gone(time.Now())
		s.row.recoveries = nil // they only had to start
		for n := range times(6, 40) {
			i, began := rng.IntN(2), time.Now()
			if rng.IntN(2) == 0 {
				both[i].kill()
				both[i] = s.invalidator("")
			} else {
				both[i].signal(syscall.SIGSTOP)
				pause(t.Context(), time.Duration(rng.IntN(1500))*time.Millisecond)
				both[i].signal(syscall.SIGCONT)
			}
			if s.row.faults++; n%3 == 0 {
				s.gone(began)
			}
		}
		l.stop()
		s.judge()
		s.nothingDead()
	})
}

// Killed when the keys are gone and nothing is acknowledged, again and again: the events come again.
func testInvalidatorKills(t *testing.T) {
	scenario(t, "invalidator: kill -9 between UNLINK and ack, under load", options{}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 102))
		s.relay("relay", "")
		l := s.write(8, 2*time.Millisecond, false)
		for i := range times(4, 20) {
			n := 1
			if i%2 == 1 {
				n += rng.IntN(30)
			}
			before := s.ackFloor()
			s.crashes("unlinked", n)
			if after := s.ackFloor(); n == 1 && after != before {
				t.Errorf("ack floor went from %d to %d before the first ack", before, after)
			}
			s.row.faults++
		}
		s.invalidator("")
		s.gone(time.Now())
		l.stop()
		s.judge()
		s.nothingDead()
	})
}

// crashes starts an invalidator that kills itself at a point, and waits until it did.
func (s *scene) crashes(point string, n int) {
	s.t.Helper()
	p := s.invalidator(fmt.Sprintf("%s:%d", point, n))
	if code := p.ended(60 * time.Second); code != -1 {
		s.t.Fatalf("ended with %d at %s:\n%s", code, point, p.log.String())
	}
}

// ackFloor is up to which sequence the invalidators have acknowledged everything.
func (s *scene) ackFloor() (seq uint64) {
	s.t.Helper()
	s.eventually(60*time.Second, "look at the consumer", func(ctx context.Context) error {
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

// Killed when a dead letter is stored and its event not yet terminated: each is stored once all the same.
func testBuried(t *testing.T) {
	scenario(t, "invalidator: kill -9 between a dead letter and the end of its event", options{}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 103))
		s.must(os.WriteFile(s.rules, fmt.Appendf(nil, "rules:\n  - subject: %[1]s.account.*\n    keys: [\"%[2]s$1\"]\n"+
			"  - subject: %[1]s.cart.*\n    keys: [\"%[2]s$1\", \"%[2]scart:${payload.cart}\"]\n", s.stream, s.prefix), 0o600))
		s.relay("relay", "")
		l := s.write(4, 3*time.Millisecond, false)
		dead := 0
		for range times(4, 20) {
			n := 1 + rng.IntN(5)
			s.exec(`INSERT INTO outbox.event (subject, payload) SELECT $1 || g, '{}' FROM generate_series(1, $2::int) g`,
				s.stream+".cart.", n)
			dead += n
			s.crashes("buried", 1+rng.IntN(n))
			s.row.faults++
		}
		s.invalidator("")
		s.gone(time.Now())
		l.stop()
		s.judge()
		seen := make(map[string]bool)
		for _, letter := range s.letters() {
			seen[letter.Header.Get(event.HeaderDeadSequence)] = true
		}
		if n := len(s.letters()); n != dead || len(seen) != dead {
			t.Errorf("%d dead letters of %d events, want %d", n, len(seen), dead)
		}
		s.row.note = fmt.Sprintf("%d dead letters, each once", dead)
	})
}

// A long time without an invalidator, and then one that finds very many events.
func testWaiting(t *testing.T) {
	n := times(50_000, 300_000)
	scenario(t, fmt.Sprintf("invalidator: started with %d events waiting", n), options{}, func(s *scene) {
		s.must(os.WriteFile(s.rules, fmt.Appendf(nil, "rules:\n  - subject: %s.>\n    keys: [\"%s${key}\"]\n", s.stream, s.prefix), 0o600))
		s.backlog(n)
		s.relay("relay", "")
		s.eventually(8*time.Minute, "all is published", func(ctx context.Context) error {
			status, err := s.table.Status(ctx, s.pool, s.stream)
			if err == nil && status.Pending+int64(n)-status.Planned > 0 {
				err = fmt.Errorf("%d pending of %d planned", status.Pending, status.Planned)
			}
			return err
		})
		began := time.Now()
		p := s.invalidator("")
		s.row.faults++
		s.eventually(8*time.Minute, "all is consumed", func(ctx context.Context) error {
			c, err := s.js.Consumer(ctx, s.stream, "invalidate-now")
			if err == nil && c.CachedInfo().AckFloor.Stream < uint64(n) {
				err = fmt.Errorf("ack floor is %d", c.CachedInfo().AckFloor.Stream)
			}
			return err
		})
		took := time.Since(began)
		s.judge()
		memory := p.memory()
		s.row.note = fmt.Sprintf("consumed in %s with %d MiB", short(took), memory)
		if memory > mostMemory {
			t.Errorf("the invalidator used %d MiB, want at most %d", memory, mostMemory)
		}
	})
}
