package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// consumerMeasures have a series for each consumer: invalidate-now, invalidate-echo-5s.
var consumerMeasures = []measure[invalidate.ConsumerStats]{
	{"outbox_invalidator_events_total", "Events processed: their keys are deleted.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Events) }},
	{"outbox_invalidator_unmatched_total", "Processed events that no rule matched.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Unmatched) }},
	{"outbox_invalidator_skipped_total", "Keys and tags not deleted because every stale value had expired.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Skipped) }},
	{"outbox_invalidator_keys_total", "Keys sent to Redis to be deleted.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Keys) }},
	{"outbox_invalidator_keys_deleted_total", "Deleted keys that existed, fill tokens included. For an echo this is the upper bound of races with a slow reader.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Deleted) }},
	{"outbox_invalidator_keys_kept_total", "Keys that an echo kept because their value was new enough.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Kept) }},
	{"outbox_invalidator_tags_total", "Tags whose members were deleted.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Tags) }},
	{"outbox_invalidator_tag_members_total", "Members of tags that were deleted.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Members) }},
	{"outbox_invalidator_tag_errors_total", "Tags that are neither a SET nor a ZSET.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.TagErrors) }},
	{"outbox_invalidator_tags_waiting", "Tags whose members are not all deleted yet.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return float64(s.TagsWaiting) }},
	{"outbox_invalidator_dead_lettered_total", "Poison events stored in the dead-letter stream.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Dead) }},
	{"outbox_invalidator_dead_letter_errors_total", "Failed attempts to store a poison event in the dead-letter stream.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.DeadErrors) }},
	{"outbox_invalidator_redelivered_total", "Messages delivered more than once.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Redelivered) }},
	{"outbox_invalidator_redis_errors_total", "Redis pipelines with at least one failed command.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.RedisErrors) }},
	{"outbox_invalidator_ack_errors_total", "Acks that could not be sent.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.AckErrors) }},
	{"outbox_invalidator_paused", "1 while Redis does not answer and the invalidator fetches nothing.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return oneIf(s.Paused) }},
	{"outbox_invalidator_consumer_paused", "1 while the consumer is paused by outbox pause.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return oneIf(!s.PausedUntil.IsZero()) }},
	{"outbox_invalidator_lag_seconds", "Age of the oldest event of the last batch when its keys were deleted. For an echo it includes the delay.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return s.Lag.Seconds() }},
	{"outbox_invalidator_last_success_timestamp_seconds", "Time of the last acknowledged batch, 0 before the first.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return seconds(s.LastProgress) }},
}

var invalidatorMeasures = []measure[invalidate.Stats]{
	{"outbox_invalidator_redis_failovers_total", "Times that Redis changed identity: a fail-over, or a restored data set.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.FailOvers) }},
	{"outbox_invalidator_failover_redelivered_total", "Events processed again after Redis changed identity.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.FailOverRedelivered) }},
}

// stalenessMeasures have a series for each staleness check: invalidate-staleness-1m. There are none without rules that
// have a ttl or a version.
var stalenessMeasures = []measure[invalidate.StalenessStats]{
	{"outbox_staleness_events_total", "Events that the staleness check received.", prometheus.CounterValue, func(s invalidate.StalenessStats) float64 { return float64(s.Events) }},
	{"outbox_staleness_sampled_total", "Events of the sample, whose keys were checked.", prometheus.CounterValue, func(s invalidate.StalenessStats) float64 { return float64(s.Sampled) }},
	{"outbox_staleness_checked_total", "Keys checked.", prometheus.CounterValue, func(s invalidate.StalenessStats) float64 { return float64(s.Checked) }},
	{"outbox_staleness_absent_total", "Checked keys without a value.", prometheus.CounterValue, func(s invalidate.StalenessStats) float64 { return float64(s.Absent) }},
	{"outbox_staleness_clean_total", "Checked keys with a value that is not older than the event.", prometheus.CounterValue, func(s invalidate.StalenessStats) float64 { return float64(s.Clean) }},
	{"outbox_staleness_suspect_total", "Checked keys with a value that may be older than the event.", prometheus.CounterValue, func(s invalidate.StalenessStats) float64 { return float64(s.Suspect) }},
	{"outbox_staleness_violations_total", "Checked keys with a value that is older than the event.", prometheus.CounterValue, func(s invalidate.StalenessStats) float64 { return float64(s.Violations) }},
	{"outbox_staleness_violation_ratio_bound", "Upper bound, at 95 % confidence, of the share of violations among the checked keys; 1 without any.", prometheus.GaugeValue, func(s invalidate.StalenessStats) float64 { return s.Bound95 }},
	{"outbox_staleness_last_violation_timestamp_seconds", "Time of the last violation, 0 for none.", prometheus.GaugeValue, func(s invalidate.StalenessStats) float64 { return seconds(s.LastViolation) }},
}

// Invalidator has the metrics of an invalidator. stats is called for each scrape.
func Invalidator(stats func() invalidate.Stats) []prometheus.Collector {
	consumers := func() []invalidate.ConsumerStats {
		s := stats()
		return append([]invalidate.ConsumerStats{s.ConsumerStats}, s.Echoes...)
	}
	return []prometheus.Collector{
		newLabeled(consumerMeasures, "consumer", func(s invalidate.ConsumerStats) string { return s.Consumer }, consumers),
		newLabeled(stalenessMeasures, "consumer", func(s invalidate.StalenessStats) string { return s.Consumer }, func() []invalidate.StalenessStats { return stats().Staleness }),
		newMeasures(invalidatorMeasures, stats),
	}
}
