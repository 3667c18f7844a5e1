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
	l.Committed(0, 2, 5*time.Second) // its COMMIT returned before that of version 1, which it waited for
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
		t.Error("a version whose COMMIT is not known yet is superseded")
	}
}

// TestStale holds what counts as a stale read: a COMMIT that had returned before the read began, not later.
func TestStale(t *testing.T) {
	l := NewLedger(1)
	o := NewOracle(l)
	l.Committed(0, 1, time.Second)
	o.Found(0, 0, time.Second)           // just then
	o.Found(0, 1, 2*time.Second)         // fresh
	o.Found(0, 0, time.Second/2)         // before
	o.Found(0, 0, 1500*time.Millisecond) // stale for half a second
	o.Found(0, 0, 5*time.Second)         // for four
	v := o.verdict(3*time.Second, nil)
	if len(v.stale) != 2 || v.violations != 1 || v.overdue != 1 || v.stale[1] != 4*time.Second {
		t.Errorf("found %+v", v)
	}
	// The second one is no violation if something was broken meanwhile, unless that was over for long enough.
	for _, one := range []struct {
		name string
		w    Window
		want int
	}{
		{"during", Window{From: 2 * time.Second, To: 3 * time.Second}, 0},
		{"long over", Window{From: 1100 * time.Millisecond, To: 1900 * time.Millisecond}, 1},
		{"before the update", Window{From: 0, To: time.Second}, 1},
		{"too late", Window{From: 4100 * time.Millisecond, To: 9 * time.Second}, 1},
	} {
		if got := o.verdict(3*time.Second, []Window{one.w}).violations; got != one.want {
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

func TestQuantilesAndSurvival(t *testing.T) {
	var times []time.Duration
	for i := range 1000 {
		times = append(times, time.Duration(i+1)*time.Millisecond)
	}
	if quantile(times, 0.5) != 500*time.Millisecond || quantile(times, 0.999) != 999*time.Millisecond || quantile(times, 1) != time.Second || quantile(nil, 1) != 0 {
		t.Errorf("p50 %s p99.9 %s", quantile(times, 0.5), quantile(times, 0.999))
	}
	points := survival(times, 10_000)
	if first, last := points[0], points[len(points)-1]; first.Million != 100_000 || last.Longer != 1 || last.Million != 100 {
		t.Errorf("from %+v to %+v", first, last)
	}
}
