package faults

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// relayPoints are the points at which a relay kills itself. The value bounds how often it may pass the point before.
var relayPoints = map[string]int{
	"planned": 5, "published": 300, "ack": 300, "acked": 300, "receipt": 1,
}

func testKills(t *testing.T) {
	runScenario(t, "relay: kill -9 at named points and at random, under load", options{}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 1))
		crash := func(point string) { s.awaitCrash(s.startRelay("killed", point)) }
		s.startInvalidator("")
		l := s.startLoad(8, 2*time.Millisecond, false)
		crash("rebased:1")
		for point, most := range relayPoints {
			for range times(1, 20) {
				crash(fmt.Sprintf("%s:%d", point, 1+rng.IntN(most)))
			}
		}
		for range times(1, 5) {
			s.exec(`INSERT INTO outbox.event (subject) VALUES ('nowhere')`)
			crash("parked:1")
			s.deleteMessage(rng)
			crash("replanned:1")
		}
		for range times(5, 80) {
			p := s.startRelay("killed", "")
			began := time.Now()
			s.measureRecovery(began)
			pause(t.Context(), time.Duration(rng.IntN(100))*time.Millisecond)
			p.Kill()
			s.row.faults++
		}
		l.stop()
		s.startRelay("last", "")
		s.verify()
	})
}
