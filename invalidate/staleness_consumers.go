package invalidate

import (
	"cmp"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// useStalenessChecks creates the staleness checks that rules require: one for each scale, if any rule has a ttl or a
// version. A check reads the events that such a rule matches. It resolves their keys by all rules, because another rule
// may declare something else about the same key.
func (v *Invalidator) useStalenessChecks(set *rules.Set) {
	v.checks = nil
	if !v.checksStaleness(set) {
		return
	}
	scales := slices.Clone(v.cfg.Staleness)
	slices.Sort(scales)
	for _, scale := range slices.Compact(scales) {
		durable := v.cfg.durable("staleness-" + compact(scale))
		cfg := v.cfg
		cfg.AckWait += scale // messages are in hand for the scale, which saves extending them all the time
		c := v.newConsumer(durable, scale, set, &counters{now: ConsumerStats{Consumer: durable, Delay: scale}})
		c.cfg = &cfg
		c.startAt = v.fromPresent
		c.gate = nil // a scale counts from the event, regardless of replicas
		c.history = nil
		s := &stalenessCheck{
			consumer: c, covered: set.Checkable().NewResolver(), sample: newSample(v.cfg.StalenessSample), history: v.history,
			record: v.recordOf(durable, scale),
		}
		c.process = s.process
		v.checks = append(v.checks, s)
	}
}

func (v *Invalidator) checksStaleness(set *rules.Set) bool {
	return len(v.cfg.Staleness) > 0 && set.Checkable().Len() > 0
}

// historyRecorder returns a recorder for a consumer that deletes keys; nil if no staleness check would read its
// history.
func (v *Invalidator) historyRecorder(set *rules.Set) *historyRecorder {
	if !v.checksStaleness(set) {
		return nil
	}
	return &historyRecorder{history: v.history, sample: newSample(v.cfg.StalenessSample)}
}

// recordOf returns the record of a staleness check. It continues across reloads of the rules.
func (v *Invalidator) recordOf(durable string, scale time.Duration) *stalenessRecord {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.records {
		if r.now.Consumer == durable {
			return r
		}
	}
	r := &stalenessRecord{now: Findings{
		Consumer: durable, Scale: scale, Instance: v.publisher.instance, Started: v.publisher.started, Last: []Violation{},
	}}
	v.records = append(v.records, r)
	slices.SortFunc(v.records, func(a, b *stalenessRecord) int { return cmp.Compare(a.now.Scale, b.now.Scale) })
	return r
}

func (v *Invalidator) stalenessRecords() []*stalenessRecord {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.records)
}
