package faults

import (
	"fmt"
	"testing"
	"time"
)

// testMillion commits one transaction with many rows while other writers commit. Its events are late, and the relay
// must plan and load them in pages.
func testMillion(t *testing.T) {
	n := times(50_000, 1_000_000)
	runScenario(t, fmt.Sprintf("writers: one transaction of %d rows, among others", n), options{}, func(s *scenario) {
		invalidator := s.startInvalidator("")
		relay := s.startRelay("million", "")
		s.probe()
		l := s.startLoad(4, 5*time.Millisecond, false)
		s.insertBacklog(n)
		s.row.faults++
		began := time.Now()
		s.awaitMessages(8*time.Minute, n)
		s.row.recoveries = append(s.row.recoveries, time.Since(began))
		l.stop()
		s.verify()
		memory := checkMemory(t, relay, invalidator)
		s.row.note = fmt.Sprintf("peak memory: relay %d MiB, invalidator %d MiB", memory[0], memory[1])
	})
}
