package demo

import (
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func TestFaultsDoNotOverlap(t *testing.T) {
	t.Parallel()
	broker := devtest.NATS(t)
	for d := 6 * time.Second; d <= time.Hour; d += d / 7 {
		p := planFaults(d, broker)
		if p.killAt+restartDelay > p.stopAt || p.stopAt+p.stopFor >= d {
			t.Errorf("load of %v: %+v", d, p)
		}
		if p.stopFor < 2*time.Second || p.stopFor > 5*time.Second || d < 20*time.Second && d >= 8*time.Second && p.stopFor > d/4 {
			t.Errorf("load of %v: the broker stops for %v", d, p.stopFor)
		}
	}
	if p := planFaults(30*time.Second, broker); p.stopFor != 5*time.Second {
		t.Errorf("the broker stops for %v", p.stopFor)
	}
}

func TestDisturbed(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	f := &faults{windows: []window{{at(10), at(20)}, {from: at(30)}}}
	for _, c := range []struct {
		from, to int
		want     bool
	}{
		{1, 9, false}, {9, 10, true}, {12, 13, true}, {19, 25, true}, {20, 21, false}, {22, 29, false}, {29, 31, true}, {40, 41, true}, {5, 50, true},
	} {
		if got := f.disturbed(at(c.from), at(c.to)); got != c.want {
			t.Errorf("%d to %d: %v", c.from, c.to, got)
		}
	}
}
