package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// testZombies stops a relay while it publishes. Another relay takes over, and then the first one continues with the
// messages that it had in hand.
func testZombies(t *testing.T) {
	runScenario(t, "relay: stopped (SIGSTOP) while publishing, continued after a take-over", options{duplicates: 100 * time.Millisecond}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 2))
		s.startInvalidator("")
		l := s.startLoad(8, 2*time.Millisecond, false)
		relays := []*program{s.startRelay("a", ""), s.startRelay("b", "")}
		s.measureRecovery(time.Now())
		for i := range times(1, 4) {
			s.insertBacklog(20_000)
			leader := s.awaitLeadingRelay(relays)
			pause(t.Context(), time.Duration(rng.IntN(150))*time.Millisecond)
			began := time.Now()
			leader.signal(syscall.SIGSTOP)
			if i%2 == 0 { // end its session before PostgreSQL does
				s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, "outbox relay "+leader.name())
			}
			s.measureRecovery(began)
			leader.signal(syscall.SIGCONT)
			s.row.faults++
		}
		l.stop()
		s.verify()
	})
}

// awaitLeadingRelay waits until one of the relays leads, and returns it.
func (s *scenario) awaitLeadingRelay(relays []*program) (leader *program) {
	s.t.Helper()
	s.eventually(30*time.Second, "leading relay", func(ctx context.Context) error {
		status, err := s.table.Status(ctx, s.pool, s.stream)
		if err != nil {
			return err
		}
		for _, p := range relays {
			if strings.HasPrefix(status.Leader, "outbox relay "+p.name()+" ") {
				leader = p
				return nil
			}
		}
		return fmt.Errorf("got leader %q", status.Leader)
	})
	return leader
}

// testThreeLeaders has three relays lead at the same time. They are killed, or stopped and continued, at random.
func testThreeLeaders(t *testing.T) {
	runScenario(t, "three relays lead at the same time (without the leader lock), killed and stopped at random", options{duplicates: 100 * time.Millisecond}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 3))
		t.Setenv("OUTBOX_FORCE", "lead")
		s.startInvalidator("")
		l := s.startLoad(8, 2*time.Millisecond, false)
		var relays [3]*program
		for i := range relays {
			relays[i] = s.startRelay(fmt.Sprintf("leader%d", i), "")
		}
		s.eventually(30*time.Second, "three leading relays", func(context.Context) error {
			for _, p := range relays {
				if !strings.Contains(p.log.String(), `"leading"`) {
					return fmt.Errorf("%s does not lead", p.name())
				}
			}
			return nil
		})
		for n := range times(12, 80) {
			i := rng.IntN(len(relays))
			if began := time.Now(); n%4 == 0 {
				s.measureRecovery(began)
			}
			if rng.IntN(2) == 0 {
				relays[i].Kill()
				relays[i] = s.startRelay(fmt.Sprintf("leader%d", i), "")
			} else {
				relays[i].signal(syscall.SIGSTOP)
				pause(t.Context(), time.Duration(rng.IntN(300))*time.Millisecond)
				relays[i].signal(syscall.SIGCONT)
			}
			s.row.faults++
		}
		l.stop()
		s.verify()
	})
}

// testForeignWriter publishes messages of another writer to the stream.
func testForeignWriter(t *testing.T) {
	runScenario(t, "a foreign writer in the stream, under load, and relays killed", options{}, func(s *scenario) {
		s.others = true
		s.startInvalidator("")
		l := s.startLoad(8, 2*time.Millisecond, false)
		rng := rand.New(rand.NewPCG(seed(), 4))
		for range times(4, 15) {
			p := s.startRelay("shared", "")
			s.measureRecovery(time.Now())
			for range 1 + rng.IntN(20) {
				s.must(s.nc.PublishMsg(&nats.Msg{Subject: s.stream + ".foreign"}))
				s.row.faults++
				pause(t.Context(), time.Duration(rng.IntN(10))*time.Millisecond)
			}
			p.Kill()
			s.row.faults++
		}
		l.stop()
		s.startRelay("last", "")
		s.verify()
	})
}
