package metrics

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// Names and units follow the conventions of Prometheus, and no label depends on events.
func TestMetricsAreWellNamed(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(
		newMeasures(relayMeasures, func() relay.Stats { return relay.Stats{} }),
		&backlog{read: func(context.Context) (table.Status, error) { return table.Status{}, nil }}, Build("", "", ""))
	registry.MustRegister(Invalidator(func() invalidate.Stats { return invalidate.Stats{Staleness: []invalidate.StalenessStats{{}}} })...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); n != 1 {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
		for _, label := range f.GetMetric()[0].GetLabel() {
			if label.GetName() != "consumer" && f.GetName() != "outbox_build_info" {
				t.Errorf("%s has the label %s", f.GetName(), label.GetName())
			}
		}
	}
}

// The backlog is queried at most every 15 s, and is absent after a failed query.
func TestBacklogQueriesAtMostEvery15Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var fails error
		b := &backlog{read: func(ctx context.Context) (table.Status, error) {
			asked++
			if _, ok := ctx.Deadline(); !ok {
				t.Error("queried without a deadline")
			}
			return table.Status{Pending: int64(asked)}, fails
		}}
		scrape := func(after time.Duration, wantAsked int, wantKnown bool) {
			t.Helper()
			time.Sleep(after) // the clock of the bubble
			s, known := b.status()
			if asked != wantAsked || known != wantKnown || known && s.Pending != int64(wantAsked) {
				t.Errorf("queried %d times, known %v, pending %d; want %d, %v", asked, known, s.Pending, wantAsked, wantKnown)
			}
		}
		scrape(0, 1, true)
		scrape(14*time.Second, 1, true)
		scrape(time.Second, 2, true)
		fails = errors.New("unavailable")
		scrape(15*time.Second, 3, false)
		scrape(time.Second, 3, false)
		fails = nil
		scrape(15*time.Second, 4, true)
	})
}
