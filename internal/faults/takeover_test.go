package faults

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

// testTakeOver kills the leader while a standby relay waits, and measures how long it takes until the standby
// publishes.
func testTakeOver(t *testing.T) {
	runScenario(t, "leader killed (kill -9), a standby takes over", options{}, func(s *scenario) {
		s.startInvalidator("")
		l := s.startLoad(4, 5*time.Millisecond, false)
		leader := s.startRelay("first", "")
		s.measureRecovery(time.Now())
		s.row.recoveries = nil // the first measurement contains the start of the relay
		for range times(4, 20) {
			standby := s.startRelay("next", "")
			s.awaitStandby(standby)
			began := time.Now()
			leader.Kill()
			s.measureRecovery(began)
			s.row.faults++
			leader = standby
		}
		l.stop()
		s.verify()
	})
}

// testUnreachableHost makes the leader's host unreachable: its connections to PostgreSQL and NATS stay open, and no
// byte passes through them.
func testUnreachableHost(t *testing.T) {
	runScenario(t, "leader's host becomes unreachable without closing its sockets (black hole), a standby takes over", options{}, func(s *scenario) {
		s.startInvalidator("")
		l := s.startLoad(4, 5*time.Millisecond, false)
		for range times(1, 3) {
			database, databaseURL := devtest.Proxy(t, s.databaseURL)
			broker, natsURL := devtest.Proxy(t, s.natsURL)
			direct := [2]string{s.databaseURL, s.natsURL}
			s.databaseURL, s.natsURL = databaseURL, natsURL
			leader := s.startRelay("unreachable", "")
			s.databaseURL, s.natsURL = direct[0], direct[1]
			s.awaitLeadingRelay([]*program{leader})
			standby := s.startRelay("standby", "")
			s.awaitStandby(standby)
			began := time.Now()
			for _, proxy := range []*faultnet.Proxy{database, broker} {
				proxy.Stall(faultnet.ToServer)
				proxy.Stall(faultnet.ToClient)
			}
			s.measureRecovery(began)
			s.row.faults++
			leader.Kill()
			standby.Kill()
		}
		l.stop()
		s.startRelay("last", "")
		s.verify()
	})
}

// awaitStandby waits until a relay logs that it is a standby.
func (s *scenario) awaitStandby(p *program) {
	s.t.Helper()
	s.eventually(30*time.Second, "standby relay", func(context.Context) error {
		if !strings.Contains(p.log.String(), "standing by") {
			return errors.New("not logged")
		}
		return nil
	})
}
