package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// Each has a series for each consumer: invalidate-now, invalidate-echo-5s.
var consumerMeasures = []measure[invalidate.ConsumerStats]{
	{"outbox_invalidator_events_total", "Events worked off: their keys are gone.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Events) }},
	{"outbox_invalidator_unmatched_total", "Of these, those that no rule matched.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Unmatched) }},
	{"outbox_invalidator_skipped_total", "Keys and tags not deleted, since every stale value had expired.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Skipped) }},
	{"outbox_invalidator_keys_total", "Keys that Redis was asked to delete.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Keys) }},
	{"outbox_invalidator_keys_deleted_total", "Of these, those that existed, fill tokens included. For an echo, at most so many races of a slow reader.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Deleted) }},
	{"outbox_invalidator_keys_kept_total", "Keys that an echo left alone, since the value was new enough.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Kept) }},
	{"outbox_invalidator_tags_total", "Tags whose members were deleted.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Tags) }},
	{"outbox_invalidator_tag_members_total", "Members of tags that were deleted.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Members) }},
	{"outbox_invalidator_tag_errors_total", "Tags that are neither a SET nor a ZSET.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.TagErrors) }},
	{"outbox_invalidator_tags_waiting", "Tags not finished yet.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return float64(s.TagsWaiting) }},
	{"outbox_invalidator_dead_lettered_total", "Poison events that the dead-letter stream has taken.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Dead) }},
	{"outbox_invalidator_dead_letter_errors_total", "Attempts to dead-letter that came to nothing.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.DeadErrors) }},
	{"outbox_invalidator_redelivered_total", "Messages that had been delivered before.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.Redelivered) }},
	{"outbox_invalidator_redis_errors_total", "Pipelines that Redis did not answer with yes throughout.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.RedisErrors) }},
	{"outbox_invalidator_ack_errors_total", "Acks that could not be sent.", prometheus.CounterValue, func(s invalidate.ConsumerStats) float64 { return float64(s.AckErrors) }},
	{"outbox_invalidator_paused", "1 while Redis does not answer and nothing is fetched.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return oneIf(s.Paused) }},
	{"outbox_invalidator_consumer_paused", "1 while a person has paused the consumer: outbox resume.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return oneIf(!s.PausedUntil.IsZero()) }},
	{"outbox_invalidator_lag_seconds", "Age of the oldest event of the last batch when its keys were gone; for an echo its delay is part of it.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return s.Lag.Seconds() }},
	{"outbox_invalidator_last_success_timestamp_seconds", "When the last batch was acknowledged, 0 before the first.", prometheus.GaugeValue, func(s invalidate.ConsumerStats) float64 { return seconds(s.LastProgress) }},
}

var invalidatorMeasures = []measure[invalidate.Stats]{
	{"outbox_invalidator_redis_failovers_total", "Times that Redis turned out to be another server, or had its data from elsewhere.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.FailOvers) }},
	{"outbox_invalidator_failover_redelivered_total", "Events worked off again because of that.", prometheus.CounterValue, func(s invalidate.Stats) float64 { return float64(s.FailOverRedelivered) }},
}

// Each has a series for each audit: invalidate-staleness-1m. There are none without rules that have a ttl or a version.
var auditMeasures = []measure[invalidate.StalenessStats]{
	{"outbox_staleness_events_total", "Events that an audit has seen.", prometheus.CounterValue, func(a invalidate.StalenessStats) float64 { return float64(a.Events) }},
	{"outbox_staleness_sampled_total", "Of these, those whose keys were looked at.", prometheus.CounterValue, func(a invalidate.StalenessStats) float64 { return float64(a.Sampled) }},
	{"outbox_staleness_checked_total", "Keys looked at.", prometheus.CounterValue, func(a invalidate.StalenessStats) float64 { return float64(a.Checked) }},
	{"outbox_staleness_absent_total", "Of these, keys without a value.", prometheus.CounterValue, func(a invalidate.StalenessStats) float64 { return float64(a.Absent) }},
	{"outbox_staleness_clean_total", "Keys with a value that is not older than the event.", prometheus.CounterValue, func(a invalidate.StalenessStats) float64 { return float64(a.Clean) }},
	{"outbox_staleness_suspect_total", "Keys with a value that may be older than the event.", prometheus.CounterValue, func(a invalidate.StalenessStats) float64 { return float64(a.Suspect) }},
	{"outbox_staleness_violations_total", "Keys with a value that is older than the event: stale values that survived.", prometheus.CounterValue, func(a invalidate.StalenessStats) float64 { return float64(a.Violations) }},
	{"outbox_staleness_violation_ratio_bound", "Upper bound at 95 % of the share of violations, as the keys looked at support it; 1 without any.", prometheus.GaugeValue, func(a invalidate.StalenessStats) float64 { return a.Bound95 }},
	{"outbox_staleness_last_violation_timestamp_seconds", "When the last violation was found, 0 for never.", prometheus.GaugeValue, func(a invalidate.StalenessStats) float64 { return seconds(a.LastViolation) }},
}

// Invalidator has the metrics of an invalidator. stats is called for each scrape.
func Invalidator(stats func() invalidate.Stats) []prometheus.Collector {
	consumers := func() []invalidate.ConsumerStats {
		s := stats()
		return append([]invalidate.ConsumerStats{s.ConsumerStats}, s.Echoes...)
	}
	return []prometheus.Collector{
		newLabeled(consumerMeasures, "consumer", func(s invalidate.ConsumerStats) string { return s.Consumer }, consumers),
		newLabeled(auditMeasures, "consumer", func(a invalidate.StalenessStats) string { return a.Consumer }, func() []invalidate.StalenessStats { return stats().Staleness }),
		newMeasures(invalidatorMeasures, stats),
	}
}
