package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

var invalidatorMeasures = []measure[invalidate.Stats]{
	{"outbox_invalidator_events_total", "Events acknowledged after their keys were gone.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.Events) }},
	{"outbox_invalidator_unmatched_total", "Of these, those that no rule matched.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.Unmatched) }},
	{"outbox_invalidator_keys_total", "Keys that Redis was asked to delete.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.Keys) }},
	{"outbox_invalidator_keys_deleted_total", "Of these, those that existed.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.Deleted) }},
	{"outbox_invalidator_dead_lettered_total", "Poison events that the dead-letter stream has taken.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.Dead) }},
	{"outbox_invalidator_dead_letter_errors_total", "Attempts to dead-letter that came to nothing.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.DeadErrors) }},
	{"outbox_invalidator_redelivered_total", "Messages that had been delivered before.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.Redelivered) }},
	{"outbox_invalidator_redis_errors_total", "Pipelines that Redis did not answer with yes throughout.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.RedisErrors) }},
	{"outbox_invalidator_ack_errors_total", "Acks that could not be sent.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.AckErrors) }},
	{"outbox_invalidator_paused", "1 while Redis does not answer and nothing is fetched.", prometheus.GaugeValue, func(s invalidate.Stats) float64 { return oneIf(s.Paused) }},
	{"outbox_invalidator_lag_seconds", "Age of the oldest event of the last batch when its keys were gone.", prometheus.GaugeValue, func(s invalidate.Stats) float64 { return s.Lag.Seconds() }},
	{"outbox_invalidator_last_success_timestamp_seconds", "When the last batch was acknowledged, 0 before the first.", prometheus.GaugeValue, func(s invalidate.Stats) float64 { return seconds(s.LastProgress) }},
}

func invalidatorMetrics(v *invalidate.Invalidator) []prometheus.Collector {
	return []prometheus.Collector{newMeasures(invalidatorMeasures, v.Stats)}
}
