package invalidate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// maxAudits is how many scales there can be.
const maxAudits = 8

// adoptAudits makes the audit lanes that rules ask for: one for each scale if a rule has a ttl or a version. They
// look at the events of such rules; keys are those of all rules, since another one may say something else of the
// same key.
func (v *Invalidator) adoptAudits(set *rules.Set) {
	v.audits = nil
	if !v.audited(set) {
		return
	}
	scales := slices.Clone(v.cfg.Audit)
	slices.Sort(scales)
	for _, scale := range slices.Compact(scales) {
		durable := v.cfg.durable("audit-" + compact(scale))
		cfg := v.cfg
		cfg.AckWait += scale // messages are in hand for so long: nobody should have to be told all the time
		l := v.newLane(durable, scale, set, &stats{now: Lane{Consumer: durable, Delay: scale}})
		l.cfg = &cfg
		l.begin = v.fromNow
		l.gate = nil // a scale is counted from the event on, whatever replicas do
		l.noter = nil
		a := &auditor{lane: l, audited: set.Audited().NewResolver(), sample: newSample(v.cfg.Sample), history: v.past, record: v.recordOf(durable, scale)}
		l.work = a.work
		v.audits = append(v.audits, a)
	}
}

func (v *Invalidator) audited(set *rules.Set) bool {
	return len(v.cfg.Audit) > 0 && set.Audited().Len() > 0
}

// noter returns what has a lane note its deletions, nil if no audit would ask for them.
func (v *Invalidator) noter(set *rules.Set) *noter {
	if !v.audited(set) {
		return nil
	}
	return &noter{history: v.past, sample: newSample(v.cfg.Sample)}
}

// recordOf returns the record of an audit lane, that of its predecessor if it had one.
func (v *Invalidator) recordOf(durable string, scale time.Duration) *record {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.records {
		if r.now.Consumer == durable {
			return r
		}
	}
	r := &record{now: Findings{
		Consumer: durable, Scale: scale, Instance: v.bulletin.instance, Started: v.bulletin.started, Last: []Violation{},
	}}
	v.records = append(v.records, r)
	slices.SortFunc(v.records, func(a, b *record) int { return cmp.Compare(a.now.Scale, b.now.Scale) })
	return r
}

func (v *Invalidator) auditRecords() []*record {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.records)
}

// fromNow has a new consumer begin with what comes into the stream from now on. What came before may have waited
// for the first invalidator for as long as it liked.
func (v *Invalidator) fromNow(ctx context.Context) (start, error) {
	s, err := v.js.Stream(ctx, v.cfg.Stream)
	if err != nil {
		return start{}, fmt.Errorf("look up stream: %w", err)
	}
	return start{at: s.CachedInfo().TimeStamp}, nil
}
