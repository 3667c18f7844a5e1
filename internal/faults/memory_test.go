package faults

import (
	"testing"
	"time"
)

const (
	memoryEnv       = "OUTBOX_MEMORY" // pending events in TestMemory at full size, such as 10000000
	maxMemorySample = 2_000_000       // published events after which the memory is measured
)

// TestMemory measures the memory of a relay and an invalidator that start with many pending events.
func TestMemory(t *testing.T) {
	n := sizeFrom(t, memoryEnv, 20_000)
	s := newScenario(t, options{})
	began := time.Now()
	s.insertConcurrently(n, `INSERT INTO outbox.event (subject, payload)
		SELECT $1::text || 'waiting', convert_to(repeat('x', 200), 'UTF8') FROM generate_series(1, $2::int)`)
	inserted := time.Since(began)
	relay, invalidator := s.startRelay("memory", ""), s.startInvalidator("")
	began = time.Now()
	s.awaitMessages(30*time.Minute, min(n, maxMemorySample))
	took := time.Since(began)
	memory := checkMemory(t, relay, invalidator)
	t.Logf("%d events pending (inserted in %s); %d published in %s; relay used %d MiB, invalidator %d MiB",
		n, short(inserted), min(n, maxMemorySample), short(took), memory[0], memory[1])
	if n <= maxMemorySample {
		s.verify()
	}
}
