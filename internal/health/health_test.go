package health_test

import (
	"errors"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/health"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func sound() *health.Facts {
	made := now.Add(-time.Hour)
	return &health.Facts{
		Name: "S", Now: now, Stream: &health.Stream{Created: made, Last: 100},
		Status:    table.Status{Leader: "outbox relay a (pid 7)", Published: 100, Planned: 100, Acked: 100, Sequence: 100},
		Rates:     table.Rates{In: 10, Out: 10, AckedAt: now, StreamCreated: made, Now: now},
		Consumers: []health.Consumer{{Name: "invalidate-now", Waiting: 1, LastAck: now.Add(-time.Hour)}},
	}
}

// Each problem has its verdict, the most severe comes first, and a sound state has none.
func TestAssess(t *testing.T) {
	late := func(f *health.Facts) { f.Status.Lag, f.Status.Pending = time.Minute, 50 }
	waits := func(f *health.Facts, change func(c *health.Consumer)) {
		c := &f.Consumers[0]
		c.Pending, c.Oldest, c.LastAck = 5, now.Add(-time.Minute), now.Add(-time.Minute)
		change(c)
	}
	for name, c := range map[string]struct {
		change func(f *health.Facts)
		want   string
	}{
		"sound":            {func(f *health.Facts) {}, health.Healthy},
		"paused":           {func(f *health.Facts) { late(f); f.Paused = "upgrade, by ann" }, health.Paused},
		"broker down":      {func(f *health.Facts) { late(f); f.Broker, f.Stream = errors.New("no servers"), nil }, health.BrokerDown},
		"no stream":        {func(f *health.Facts) { f.Stream = nil }, health.NoStream},
		"stream recreated": {func(f *health.Facts) { f.Stream.Created = now }, health.Recreated},
		"stream went back": {func(f *health.Facts) { f.Stream.Last = 99 }, health.LostData},
		"blocked": {func(f *health.Facts) {
			late(f)
			f.Rates.Blocked = []table.Blocked{{PID: 7, By: 9, Waits: 5 * time.Second, Age: time.Hour}}
		}, health.Blocked},
		"blocked a moment": {func(f *health.Facts) { f.Rates.Blocked = []table.Blocked{{PID: 7, By: 9, Waits: time.Millisecond}} }, health.Healthy},
		"no leader":        {func(f *health.Facts) { f.Status.Leader = "" }, health.RelayDown},
		"nothing acked":    {func(f *health.Facts) { late(f); f.Rates.AckedAt = now.Add(-time.Minute) }, health.Stuck},
		"never acked":      {func(f *health.Facts) { late(f); f.Rates.AckedAt = time.Time{} }, health.Stuck},
		"more committed":   {func(f *health.Facts) { late(f); f.Rates.In = 11 }, health.TooSlow},
		"more published":   {func(f *health.Facts) { late(f); f.Rates.Out = 11 }, health.Catching},
		"small lag":        {func(f *health.Facts) { f.Status.Lag, f.Status.Pending = 9*time.Second, 50 }, health.Healthy},
		"consumer paused":  {func(f *health.Facts) { waits(f, func(c *health.Consumer) { c.PausedUntil = &now }) }, health.ConsumerStuck},
		"no reader":        {func(f *health.Facts) { waits(f, func(c *health.Consumer) { c.Waiting = 0 }) }, health.ConsumerStuck},
		"no acks":          {func(f *health.Facts) { waits(f, func(c *health.Consumer) { c.AckPending = 3 }) }, health.ConsumerStuck},
		"consumer works":   {func(f *health.Facts) { waits(f, func(c *health.Consumer) { c.LastAck = now }) }, health.Healthy},
		"consumer was idle": {func(f *health.Facts) {
			waits(f, func(c *health.Consumer) { c.Oldest, c.LastAck = now, now.Add(-time.Hour) })
		}, health.Healthy},
		"consumer holds":     {func(f *health.Facts) { waits(f, func(c *health.Consumer) { c.Name = "invalidate-staleness-1m" }) }, health.Healthy},
		"parked":             {func(f *health.Facts) { f.Status.Parked = 1 }, health.Decision},
		"dead letters":       {func(f *health.Facts) { f.Dead = 1 }, health.Decision},
		"parked and no acks": {func(f *health.Facts) { late(f); f.Status.Parked, f.Rates.AckedAt = 1, time.Time{} }, health.Stuck},
	} {
		t.Run(name, func(t *testing.T) {
			f := sound()
			c.change(f)
			if v := health.Assess(f, health.Limits{}); v.State != c.want || v.Detail == "" || v.State != health.Healthy && v.Next == "" {
				t.Errorf("%+v, want %s", v, c.want)
			}
		})
	}
}
