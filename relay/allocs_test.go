//go:build !race

package relay_test

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// A backlog drains with a handful of allocations for each event, of which the client of NATS makes five: two for the headers, and an ack's
// message, subject and body. Counted over everything in this process except the server and the count itself. Not parallel: it profiles the
// whole process. Not built with the race detector, under which functions are not inlined and pools drop what they hold, so that the
// number of allocations says nothing about the program.
func TestAllocationsPerEvent(t *testing.T) {
	const events, most = 20_000, 5.5
	g := newRig(t)
	cfg := g.config()
	cfg.Logger = nil
	cfg.AckWait = time.Minute // a late ack makes the relay read the stream's end again, which is not what is counted here
	run := g.start(cfg)
	g.insertN(100)
	g.drained()

	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	before := allocations(t)
	g.insertN(events)
	g.drained()
	after := allocations(t)
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for where, n := range after {
		after[where] = n - before[where]
		total += float64(after[where])
	}
	if perEvent := total / events; perEvent > most {
		t.Errorf("%.2f allocations per event, want at most %v; most of them in:", perEvent, most)
		places := slices.SortedFunc(maps.Keys(after), func(a, b string) int { return int(after[b] - after[a]) })
		for _, where := range places[:min(8, len(places))] {
			t.Logf("%6.2f %s", float64(after[where])/events, where)
		}
	} else {
		t.Logf("%.2f allocations per event", perEvent)
	}
}

// allocations counts all that were made so far, by the function that made them, except those of the server and its own.
func allocations(t *testing.T) map[string]int64 {
	t.Helper()
	runtime.GC() // the profile is as of the last cycle but one
	runtime.GC()
	n, _ := runtime.MemProfile(nil, true)
	records := make([]runtime.MemProfileRecord, n+1000)
	n, ok := runtime.MemProfile(records, true)
	if !ok {
		t.Fatal("the profile grew by more than 1000 places")
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
