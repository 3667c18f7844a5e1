package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

const (
	backlogEvery = 15 * time.Second // age up to which the backlog is not queried again
	queryTimeout = 5 * time.Second
)

var relayMeasures = []measure[relay.Stats]{
	{"outbox_relay_published_total", "Events that the stream acknowledged.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Published) }},
	{"outbox_relay_parked_total", "Events parked because the stream rejects them permanently.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Parked) }},
	{"outbox_relay_batches_total", "Batches planned.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Batches) }},
	{"outbox_relay_resumes_total", "Times that the relay read the end of the stream to resume.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Resumes) }},
	{"outbox_relay_rebases_total", "Times that the base, which maps positions to sequences of the stream, changed.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Rebases) }},
	{"outbox_relay_foreign_messages_total", "Messages in the stream that no relay published.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Foreign) }},
	{"outbox_relay_lost_messages_total", "Acknowledged messages that the stream lost and the relay published again.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Lost) }},
	{"outbox_relay_removed_messages_total", "Messages removed from the stream although none of its limits explains it.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Removed) }},
	{"outbox_relay_gone_positions_total", "Positions that the stream needed again after the table had dropped their event.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Gone) }},
	{"outbox_relay_dropped_partitions_total", "Partitions dropped by this relay.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Dropped) }},
	{"outbox_relay_default_partition_events", "Events in the default partition, counted up to 1000. It should be empty.", prometheus.GaugeValue, func(s relay.Stats) float64 { return float64(s.InDefault) }},
	{"outbox_relay_wakes_total", "Times that a writer woke the relay.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Wakes) }},
	{"outbox_relay_errors_total", "Errors after which the relay resumed or reconnected.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.LastErrors) }},
	{"outbox_relay_in_flight", "Events published and not yet acknowledged.", prometheus.GaugeValue, func(s relay.Stats) float64 { return float64(s.InFlight) }},
	{"outbox_relay_leader", "1 if this relay leads.", prometheus.GaugeValue, func(s relay.Stats) float64 { return oneIf(s.Leads) }},
	{"outbox_relay_paused", "1 if this relay leads and is paused by outbox pause.", prometheus.GaugeValue, func(s relay.Stats) float64 { return oneIf(s.Paused) }},
	{"outbox_relay_asleep", "1 if this relay leads and sleeps until a writer wakes it.", prometheus.GaugeValue, func(s relay.Stats) float64 { return oneIf(s.Asleep) }},
	{"outbox_relay_last_success_timestamp_seconds", "Time of the last acknowledged event, 0 before the first.", prometheus.GaugeValue, func(s relay.Stats) float64 { return seconds(s.LastAck) }},
}

// Relay has the metrics of a relay, and the backlog of its outbox, which is the same whichever relay leads. stats is
// called for each scrape, status at most every 15 seconds.
func Relay(stats func() relay.Stats, status func(context.Context) (table.Status, error)) []prometheus.Collector {
	return []prometheus.Collector{newMeasures(relayMeasures, stats), &backlog{read: status}}
}

var (
	pendingRows = prometheus.NewDesc("outbox_relay_pending_rows", "Committed events that the stream has not acknowledged, at most 15 s old. Absent while the database does not answer.", nil, nil)
	lagSeconds  = prometheus.NewDesc("outbox_relay_lag_seconds", "Age of the oldest pending event, 0 without any. Absent while the database does not answer.", nil, nil)
)

// A backlog is the number of events that wait for the stream, and the age of the oldest. It queries the database for a
// scrape if its last answer is older than backlogEvery.
type backlog struct {
	read func(context.Context) (table.Status, error)

	mu    sync.Mutex // held during a query, so that concurrent scrapes share the answer
	last  table.Status
	known bool
	asked time.Time
}

func (b *backlog) Describe(ch chan<- *prometheus.Desc) {
	ch <- pendingRows
	ch <- lagSeconds
}

func (b *backlog) Collect(ch chan<- prometheus.Metric) {
	if s, known := b.status(); known {
		ch <- prometheus.MustNewConstMetric(pendingRows, prometheus.GaugeValue, float64(s.Pending))
		ch <- prometheus.MustNewConstMetric(lagSeconds, prometheus.GaugeValue, s.Lag.Seconds())
	}
}

func (b *backlog) status() (table.Status, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.asked) < backlogEvery {
		return b.last, b.known
	}
	ctx, cancel := context.WithTimeout(context.Background(), queryTimeout)
	defer cancel()
	status, err := b.read(ctx)
	b.last, b.known, b.asked = status, err == nil, time.Now()
	return b.last, b.known
}
