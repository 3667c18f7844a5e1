package faults

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	memoryEnv = "OUTBOX_MEMORY" // rows that wait in TestMemory; ten million is what it is for
	seen      = 2_000_000       // of them are published before memory is looked at
)

// TestMemory lets very many rows wait for a relay and an invalidator that start then, and looks at what they use.
func TestMemory(t *testing.T) {
	n := 20_000
	if text := os.Getenv(memoryEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", memoryEnv, err)
		}
	}
	s := newScene(t, options{})
	began := time.Now()
	s.wait(n)
	inserted := time.Since(began)
	relay, invalidator := s.relay("memory", ""), s.invalidator("")
	began = time.Now()
	s.eventually(30*time.Minute, "much of it is published", func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.stream)
		if err == nil && stream.CachedInfo().State.Msgs < uint64(min(n, seen)) {
			err = fmt.Errorf("%d messages", stream.CachedInfo().State.Msgs)
		}
		return err
	})
	took := time.Since(began)
	memory := [2]int{relay.memory(), invalidator.memory()}
	t.Logf("%d rows waiting (inserted in %s); %d published in %s; relay used %d MiB, invalidator %d MiB",
		n, short(inserted), min(n, seen), short(took), memory[0], memory[1])
	if max(memory[0], memory[1]) > mostMemory {
		t.Errorf("relay used %d MiB, invalidator %d MiB, want at most %d", memory[0], memory[1], mostMemory)
	}
	if n <= seen {
		s.judge()
	}
}

// wait inserts events in transactions of 50,000, four at a time.
func (s *scene) wait(n int) {
	s.t.Helper()
	var group errgroup.Group
	group.SetLimit(4)
	for left := n; left > 0; left -= 50_000 {
		group.Go(func() error {
			_, err := s.pool.Exec(s.t.Context(), s.table.SQL(`INSERT INTO outbox.event (subject, payload)
				SELECT $1, convert_to(repeat('x', 200), 'UTF8') FROM generate_series(1, $2::int)`), s.stream+".waiting", min(left, 50_000))
			return err
		})
	}
	s.must(group.Wait())
}
