package staleness

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // it would log every dial that fails while an arm has stopped Redis
	devtest.Main(m)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// small uses a tenth of the times of Full, few rows and many stalls, so that stale fills happen within seconds.
func small(t *testing.T, program string) Config {
	return Config{
		Program: program, Duration: 4 * time.Second, Rows: 200, Updates: 200, Writers: 2, Reads: 600, Readers: 64,
		Stall:      Stall{Median: 100 * time.Microsecond, Share: 0.3, Least: 20 * time.Millisecond, Most: 300 * time.Millisecond},
		FillWithin: 350 * time.Millisecond, Slack: 2 * time.Second, FaultEvery: 2 * time.Second, Seed: 7, Log: io.Discard,
	}
}

// TestArms runs small arms in parallel. Each must pass, and must fail when it is held to the opposite promise.
func TestArms(t *testing.T) {
	program, err := Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const echo = 500 * time.Millisecond
	kill := []faultKind{killInvalidator}
	t.Run("group", func(t *testing.T) {
		for _, arm := range []Arm{
			{Name: "A2", Title: "TTL only", Method: byTTL, TTL: longTTL},
			{Name: "B0", Title: "DEL before commit", Method: delBefore, TTL: longTTL},
			{Name: "C", Title: "one delete", Method: byEvents, TTL: longTTL},
			{Name: "D", Title: "echo", Method: byEvents, TTL: longTTL, Echo: echo, Bound: echo, Holds: true, Faults: kill},
			{Name: "D0", Title: "echo, no stalls", Method: byEvents, TTL: longTTL, Echo: echo, Bound: echo, Holds: true, Smooth: true},
			{Name: "E", Title: "fill", Method: byEvents, TTL: longTTL, Fill: true, Holds: true, Faults: kill},
		} {
			t.Run(arm.Name, func(t *testing.T) {
				t.Parallel()
				r, err := Run(t.Context(), arm, small(t, program))
				if err != nil {
					t.Fatal(err)
				}
				t.Log(r)
				if err := r.Err(); err != nil {
					t.Error(err)
				}
				if r.StaleReads == 0 || r.HitRate == 0 || r.Updates == 0 {
					t.Errorf("no load, no hit or no stale read: %s", r)
				}
				opposite := *r
				if opposite.Holds = !arm.Holds; opposite.Err() == nil {
					t.Errorf("%s passes with Holds %v and with Holds %v", arm.Name, arm.Holds, !arm.Holds)
				}
			})
		}
	})
}
