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
	{"outbox_relay_published_total", "Events acknowledged by the stream.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Published) }},
	{"outbox_relay_parked_total", "Events parked because the stream refuses them for ever.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Parked) }},
	{"outbox_relay_batches_total", "Batches planned.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Batches) }},
	{"outbox_relay_resumes_total", "Times the end of the stream was read to go on.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Resumes) }},
	{"outbox_relay_rebases_total", "Times the place of positions in the stream moved.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Rebases) }},
	{"outbox_relay_foreign_messages_total", "Messages found in the stream that no relay published.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Foreign) }},
	{"outbox_relay_lost_messages_total", "Acknowledged messages that the stream lost, published again.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Lost) }},
	{"outbox_relay_removed_messages_total", "Messages that were removed from the stream, though no limit of its own explains it.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Removed) }},
	{"outbox_relay_gone_positions_total", "Positions whose event the table had dropped when the stream needed it again.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Gone) }},
	{"outbox_relay_dropped_partitions_total", "Partitions dropped by this relay.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Dropped) }},
	{"outbox_relay_default_partition_events", "Events in the default partition, counted up to 1000: it should be empty.", prometheus.GaugeValue, func(s relay.Stats) float64 { return float64(s.InDefault) }},
	{"outbox_relay_wakes_total", "Times a writer woke the relay.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.Wakes) }},
	{"outbox_relay_errors_total", "Times the relay had to resume or to connect again.", prometheus.CounterValue, func(s relay.Stats) float64 { return float64(s.LastErrors) }},
	{"outbox_relay_in_flight", "Events published and not acknowledged.", prometheus.GaugeValue, func(s relay.Stats) float64 { return float64(s.InFlight) }},
	{"outbox_relay_leader", "1 if this relay leads.", prometheus.GaugeValue, func(s relay.Stats) float64 { return oneIf(s.Leads) }},
	{"outbox_relay_paused", "1 if this relay leads and a person paused it: outbox resume --relay.", prometheus.GaugeValue, func(s relay.Stats) float64 { return oneIf(s.Paused) }},
	{"outbox_relay_asleep", "1 if this relay leads and waits for a writer to wake it.", prometheus.GaugeValue, func(s relay.Stats) float64 { return oneIf(s.Asleep) }},
	{"outbox_relay_last_success_timestamp_seconds", "When the stream last acknowledged an event, 0 before the first.", prometheus.GaugeValue, func(s relay.Stats) float64 { return seconds(s.LastAck) }},
}

// Relay has the metrics of a relay, and the backlog of its outbox, which is the same whichever relay leads. stats is called
// for each scrape, status at most every 15 seconds.
func Relay(stats func() relay.Stats, status func(context.Context) (table.Status, error)) []prometheus.Collector {
	return []prometheus.Collector{newMeasures(relayMeasures, stats), &backlog{read: status}}
}

var (
	pendingRows = prometheus.NewDesc("outbox_relay_pending_rows", "Committed events that are not acknowledged, at most 15 s ago. Absent when the database does not say.", nil, nil)
	lagSeconds  = prometheus.NewDesc("outbox_relay_lag_seconds", "Age of the oldest of them, 0 when there is none. Absent when the database does not say.", nil, nil)
)

// A backlog is the number of events that wait for the stream, and the age of the oldest. It queries the database for a scrape
// if its last answer is older than backlogEvery.
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
