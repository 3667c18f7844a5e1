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
	redis.SetLogger(silent{}) // it tells of every dial that fails while an arm has Redis stopped
	devtest.Main(m)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// small is a tenth of the times of Full, on few rows and with many stalls, so that seconds are enough for the race to be
// lost again and again.
func small(t *testing.T, program string) Config {
	return Config{
		Program: program, Duration: 4 * time.Second, Rows: 200, Updates: 200, Writers: 2, Reads: 600, Readers: 64,
		Stall:      Stall{Median: 100 * time.Microsecond, Share: 0.3, Least: 20 * time.Millisecond, Most: 300 * time.Millisecond},
		FillWithin: 350 * time.Millisecond, Slack: 2 * time.Second, FaultEvery: 2 * time.Second, Seed: 7, Log: io.Discard,
	}
}

// TestArms plays small arms side by side. The last one claims an echo that its rules do not have: the oracle has to find out.
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
					t.Errorf("nothing happened: %s", r)
				}
				liar := *r
				if liar.Holds = !arm.Holds; liar.Err() == nil { // it claims what it does not do, or the other way round
					t.Errorf("%s passes with the claims of the others", arm.Name)
				}
			})
		}
	})
}
