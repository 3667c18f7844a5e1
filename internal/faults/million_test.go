package faults

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mostMemory is what neither program may have used at its peak.
const mostMemory = 150 // MiB

// testMillion commits one transaction of very many rows while others commit: it is late, and comes in pages.
func testMillion(t *testing.T) {
	n := times(50_000, 1_000_000)
	scenario(t, fmt.Sprintf("writers: one transaction of %d rows, among others", n), options{}, func(s *scene) {
		invalidator := s.invalidator("")
		relay := s.relay("million", "")
		s.flows()
		l := s.write(4, 5*time.Millisecond, false)
		s.exec(`INSERT INTO outbox.event (subject, key, payload)
			SELECT $1 || (g % 100), 'bulk-' || g % 100, convert_to(repeat('x', 100), 'UTF8') FROM generate_series(1, $2::int) g`, s.stream+".bulk.", n)
		s.row.faults++
		began := time.Now()
		s.eventually(8*time.Minute, "all is published", func(ctx context.Context) error {
			stream, err := s.js.Stream(ctx, s.stream)
			if err == nil && stream.CachedInfo().State.Msgs < uint64(n) {
				err = fmt.Errorf("%d messages of %d", stream.CachedInfo().State.Msgs, n)
			}
			return err
		})
		s.row.recoveries = append(s.row.recoveries, time.Since(began))
		l.stop()
		s.judge()
		memory := [2]int{relay.memory(), invalidator.memory()}
		s.row.note = fmt.Sprintf("at their peak the relay used %d MiB, the invalidator %d MiB", memory[0], memory[1])
		if max(memory[0], memory[1]) > mostMemory {
			t.Errorf("relay used %d MiB, invalidator %d MiB, want at most %d", memory[0], memory[1], mostMemory)
		}
	})
}

// memory is the most that a program had resident, in MiB; 0 where the system does not say.
func (p *program) memory() int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if os.IsNotExist(err) {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.Atoi(strings.Fields(line + " 0")[0])
	if err != nil || kib == 0 {
		p.t.Fatalf("read memory: %q, %v", line, err)
	}
	return kib >> 10
}
