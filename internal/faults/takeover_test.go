package faults

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

// A standby is there: how long until it publishes, when the leader is killed.
func testTakeOver(t *testing.T) {
	scenario(t, "leader killed (kill -9), a standby takes over", options{}, func(s *scene) {
		s.invalidator("")
		l := s.write(4, 5*time.Millisecond, false)
		leader := s.relay("first", "")
		s.recovered(time.Now())
		s.row.recoveries = nil // it only had to start
		for range times(4, 20) {
			standby := s.relay("next", "")
			s.stands(standby)
			began := time.Now()
			leader.kill()
			s.recovered(began)
			s.row.faults++
			leader = standby
		}
		l.stop()
		s.judge()
	})
}

// The host of the leader vanishes: its connections to PostgreSQL and NATS stay open and carry nothing any more.
func testVanishedHost(t *testing.T) {
	scenario(t, "leader's host vanishes without closing its sockets (black hole), a standby takes over", options{}, func(s *scene) {
		s.invalidator("")
		l := s.write(4, 5*time.Millisecond, false)
		for range times(1, 3) {
			database, databaseURL := s.proxy(s.databaseURL)
			broker, natsURL := s.proxy(s.natsURL)
			direct := [2]string{s.databaseURL, s.natsURL}
			s.databaseURL, s.natsURL = databaseURL, natsURL
			leader := s.relay("vanishing", "")
			s.databaseURL, s.natsURL = direct[0], direct[1]
			s.leading([]*program{leader})
			standby := s.relay("standby", "")
			s.stands(standby)
			began := time.Now()
			for _, link := range []*faultnet.Proxy{database, broker} {
				link.Stall(faultnet.ToServer)
				link.Stall(faultnet.ToClient)
			}
			s.recovered(began)
			s.row.faults++
			leader.kill()
			standby.kill()
		}
		l.stop()
		s.relay("last", "")
		s.judge()
	})
}

// stands waits until a relay stands by.
func (s *scene) stands(p *program) {
	s.t.Helper()
	s.eventually(30*time.Second, "a relay stands by", func(context.Context) error {
		if !strings.Contains(p.log.String(), "standing by") {
			return errors.New("it does not say so")
		}
		return nil
	})
}

// proxy puts a faultnet in front of the server of a URL, and returns the URL through it.
func (s *scene) proxy(server string) (*faultnet.Proxy, string) {
	s.t.Helper()
	u, err := url.Parse(server)
	s.must(err)
	p, err := faultnet.Listen(u.Host)
	s.must(err)
	s.t.Cleanup(func() {
		p.Heal()
		if err := p.Close(); err != nil {
			s.t.Error(err)
		}
	})
	u.Host = p.Addr()
	return p, u.String()
}
