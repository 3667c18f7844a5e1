package staleness

import (
	"math"
	"testing"
	"time"
)

func TestLedger(t *testing.T) {
	l := NewLedger(1)
	if _, ok := l.Superseded(0, 0); ok {
		t.Error("the first version is superseded")
	}
	l.Committed(0, 2, 5*time.Second) // this COMMIT returned first, although version 2 waited for version 1
	l.Committed(0, 1, 6*time.Second)
	for version, want := range []time.Duration{5 * time.Second, 5 * time.Second} {
		if since, ok := l.Superseded(0, version); !ok || since != want {
			t.Errorf("version %d is superseded since %s, %v, want %s", version, since, ok, want)
		}
	}
	if _, ok := l.Superseded(0, 2); ok {
		t.Error("the latest version is superseded")
	}
	if _, ok := l.Superseded(0, 9); ok {
		t.Error("a version whose COMMIT has not been recorded is superseded")
	}
}

// TestStale counts a read as stale only if the COMMIT of a newer version had returned before the read began.
func TestStale(t *testing.T) {
	l := NewLedger(1)
	o := NewOracle(l)
	l.Committed(0, 1, time.Second)
	o.Found(0, 0, time.Second)           // at the same time
	o.Found(0, 1, 2*time.Second)         // fresh
	o.Found(0, 0, time.Second/2)         // before the COMMIT
	o.Found(0, 0, 1500*time.Millisecond) // stale for 0.5 s
	o.Found(0, 0, 5*time.Second)         // stale for 4 s
	f := o.findings(3*time.Second, nil)
	if len(f.stale) != 2 || f.violations != 1 || f.overdue != 1 || f.stale[1] != 4*time.Second {
		t.Errorf("found %+v", f)
	}
	// The second read is no violation if a fault overlaps the allowed time, unless the fault ended long enough before.
	for _, one := range []struct {
		name string
		w    Window
		want int
	}{
		{"during the read", Window{From: 2 * time.Second, To: 3 * time.Second}, 0},
		{"ended long before", Window{From: 1100 * time.Millisecond, To: 1900 * time.Millisecond}, 1},
		{"before the update", Window{From: 0, To: time.Second}, 1},
		{"after the deadline", Window{From: 4100 * time.Millisecond, To: 9 * time.Second}, 1},
	} {
		if got := o.findings(3*time.Second, []Window{one.w}).violations; got != one.want {
			t.Errorf("%s: %d violations, want %d", one.name, got, one.want)
		}
	}
}

func TestUpper95(t *testing.T) {
	for _, one := range []struct {
		k    int
		n    int64
		want float64
	}{{0, 3_000_000, 1e-6}, {0, 0, 1}, {10, 100, 0.160}} {
		if got := upper95(one.k, one.n); math.Abs(got-one.want) > 0.005*one.want {
			t.Errorf("%d of %d: %g, want %g", one.k, one.n, got, one.want)
		}
	}
}

func TestSurvival(t *testing.T) {
	var times []time.Duration
	for i := range 1000 {
		times = append(times, time.Duration(i+1)*time.Millisecond)
	}
	points := survival(times, 10_000)
	if first, last := points[0], points[len(points)-1]; first.Million != 100_000 || last.Longer != 1 || last.Million != 100 {
		t.Errorf("from %+v to %+v", first, last)
	}
}
