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

// A relay is stopped in full flight and another one takes over; then it wakes up and goes on with what it had in hand.
func testZombies(t *testing.T) {
	scenario(t, "relay: stopped (SIGSTOP) in full flight past a take-over, then continued", options{duplicates: 100 * time.Millisecond}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 2))
		s.invalidator("")
		l := s.write(8, 2*time.Millisecond, false)
		relays := []*program{s.relay("a", ""), s.relay("b", "")}
		s.recovered(time.Now())
		for i := range times(1, 4) {
			s.backlog(20_000)
			leader := s.leading(relays)
			pause(t.Context(), time.Duration(rng.IntN(150))*time.Millisecond)
			began := time.Now()
			leader.signal(syscall.SIGSTOP)
			if i%2 == 0 { // sooner than PostgreSQL ends its session
				s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, "outbox relay "+leader.name())
			}
			s.recovered(began)
			leader.signal(syscall.SIGCONT)
			s.row.faults++
		}
		l.stop()
		s.judge()
	})
}

// leading waits until one of the relays leads, and returns it.
func (s *scene) leading(relays []*program) (leader *program) {
	s.t.Helper()
	s.eventually(30*time.Second, "a relay leads", func(ctx context.Context) error {
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
		return fmt.Errorf("leader is %q", status.Leader)
	})
	return leader
}

// Three relays lead at once. Some are killed, some stopped and continued.
func testThreeLeaders(t *testing.T) {
	scenario(t, "three relays lead at once (leader lock left out), killed and stopped at random", options{duplicates: 100 * time.Millisecond}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 3))
		t.Setenv("OUTBOX_FORCE", "lead")
		s.invalidator("")
		l := s.write(8, 2*time.Millisecond, false)
		var relays [3]*program
		for i := range relays {
			relays[i] = s.relay(fmt.Sprintf("leader%d", i), "")
		}
		s.eventually(30*time.Second, "all of them lead", func(context.Context) error {
			for _, p := range relays {
				if !strings.Contains(p.log.String(), `"leading"`) {
					return fmt.Errorf("%s does not", p.name())
				}
			}
			return nil
		})
		for n := range times(12, 80) {
			i := rng.IntN(len(relays))
			if began := time.Now(); n%4 == 0 {
				s.recovered(began)
			}
			if rng.IntN(2) == 0 {
				relays[i].kill()
				relays[i] = s.relay(fmt.Sprintf("leader%d", i), "")
			} else {
				relays[i].signal(syscall.SIGSTOP)
				pause(t.Context(), time.Duration(rng.IntN(300))*time.Millisecond)
				relays[i].signal(syscall.SIGCONT)
			}
			s.row.faults++
		}
		l.stop()
		s.judge()
	})
}

// Somebody else publishes to the stream, in bursts and one by one.
func testForeignWriter(t *testing.T) {
	scenario(t, "a foreign writer in the stream, under load, and relays killed", options{}, func(s *scene) {
		s.others = true
		s.invalidator("")
		l := s.write(8, 2*time.Millisecond, false)
		rng := rand.New(rand.NewPCG(seed(), 4))
		for range times(4, 15) {
			p := s.relay("disturbed", "")
			s.recovered(time.Now())
			for range 1 + rng.IntN(20) {
				s.must(s.nc.PublishMsg(&nats.Msg{Subject: s.stream + ".foreign"}))
				s.row.faults++
				pause(t.Context(), time.Duration(rng.IntN(10))*time.Millisecond)
			}
			p.kill()
			s.row.faults++
		}
		l.stop()
		s.relay("last", "")
		s.judge()
	})
}
