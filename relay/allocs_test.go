//go:build !race

package relay_test

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
)

// Draining a backlog costs a handful of allocations per event. The NATS client makes five of them: two for the headers, and the message,
// subject and body of an ack. The test counts everything in this process except the server and the count itself, so it must not run in
// parallel. It is not built with the race detector, which keeps functions from being inlined and empties pools: the number of allocations
// then means nothing.
func TestAllocationsPerEvent(t *testing.T) {
	const events, most = 20_000, 5.5
	g := relaytest.New(t)
	cfg := g.Config()
	cfg.Logger = nil
	cfg.AckWait = time.Minute // a late ack makes the relay read the end of the stream again, which must not count
	run := g.Start(cfg)
	g.InsertN(100)
	g.Drained()

	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	before := allocations(t)
	g.InsertN(events)
	g.Drained()
	after := allocations(t)
	if err := run.Stop(); err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for where, n := range after {
		after[where] = n - before[where]
		total += float64(after[where])
	}
	if perEvent := total / events; perEvent > most {
		t.Errorf("%.2f allocations per event, want at most %v; the most frequent ones:", perEvent, most)
		places := slices.SortedFunc(maps.Keys(after), func(a, b string) int { return int(after[b] - after[a]) })
		for _, where := range places[:min(8, len(places))] {
			t.Logf("%6.2f %s", float64(after[where])/events, where)
		}
	} else {
		t.Logf("%.2f allocations per event", perEvent)
	}
}

// allocations counts all allocations so far by function, except those of the server and its own.
func allocations(t *testing.T) map[string]int64 {
	t.Helper()
	runtime.GC() // the profile lags by one cycle
	runtime.GC()
	n, _ := runtime.MemProfile(nil, true)
	records := make([]runtime.MemProfileRecord, n+1000)
	n, ok := runtime.MemProfile(records, true)
	if !ok {
		t.Fatal("the profile grew by more than 1000 entries")
	}
	out := make(map[string]int64)
	for _, r := range records[:n] {
		var names []string
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			names = append(names, f.Function)
		}
		if !slices.ContainsFunc(names, uncounted) {
			out[strings.Join(names[:min(4, len(names))], " < ")] += r.AllocObjects
		}
	}
	return out
}

func uncounted(function string) bool {
	return strings.Contains(function, "nats-server") || strings.HasSuffix(function, "relay_test.allocations")
}
