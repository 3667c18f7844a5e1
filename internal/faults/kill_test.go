package faults

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// relayPoints are where a relay kills itself, and how often it may pass by before.
var relayPoints = map[string]int{
	"planned": 5, "published": 300, "ack": 300, "acked": 300, "receipt": 1,
}

func testKills(t *testing.T) {
	scenario(t, "relay: kill -9 at named points and at random, under load", options{}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 1))
		s.invalidator("")
		l := s.write(8, 2*time.Millisecond, false)
		s.killedAt("rebased:1")
		for point, most := range relayPoints {
			for range times(1, 20) {
				s.killedAt(fmt.Sprintf("%s:%d", point, 1+rng.IntN(most)))
			}
		}
		for range times(1, 5) {
			s.exec(`INSERT INTO outbox.event (subject) VALUES ('nowhere')`)
			s.killedAt("parked:1")
			s.deleteMessage(rng)
			s.killedAt("replanned:1")
		}
		for range times(5, 80) {
			p := s.relay("killed", "")
			began := time.Now()
			s.recovered(began)
			pause(t.Context(), time.Duration(rng.IntN(100))*time.Millisecond)
			p.kill()
			s.row.faults++
		}
		l.stop()
		s.relay("last", "")
		s.judge()
	})
}

// killedAt starts a relay that kills itself at a point, and waits until it has.
func (s *scene) killedAt(point string) {
	s.t.Helper()
	p := s.relay("killed", point)
	if code := p.ended(60 * time.Second); code != -1 {
		s.t.Fatalf("ended with %d at %s:\n%s", code, point, p.log.String())
	}
	s.row.faults++
}
