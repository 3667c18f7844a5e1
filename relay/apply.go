package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
)

// ever is a time before every plan.
var ever = time.Unix(0, 0)

// repairTimeout bounds the repair of what was removed from a stream.
const repairTimeout = 10 * time.Minute

// apply carries out a decision and returns the origin of the next window, or nil if unplanned events have to be adopted first.
// Each step is one transaction that has no effect when it is repeated: a relay that dies in between leaves a decision for the next one.
func (r *Relay) apply(ctx context.Context, e *evidence, d *decision) (*origin, error) {
	r.report(e, d)
	if d.unplanned != nil {
		return nil, nil
	}
	n := 0
	for _, gap := range d.displaced {
		moved, err := r.resend(ctx, gap, ever)
		if err != nil {
			return nil, err
		}
		n += moved
	}
	if n > 0 {
		r.log.Warn("foreign messages took the sequences of events, publishing those events at the end", "stream", r.cfg.Stream, "n", n)
	}
	if err := r.repairRemoved(ctx, e, d); err != nil {
		return nil, err
	}
	if err := r.appendBase(ctx, d); err != nil {
		return nil, err
	}
	return &origin{State: e.state, next: d.next, base: d.base, receipts: e.receipted()}, nil
}

// report counts and logs what the evidence showed.
func (r *Relay) report(e *evidence, d *decision) {
	if d.recreated {
		r.log.Warn("stream was recreated, publishing everything that the table has", "stream", r.cfg.Stream)
	}
	if d.lost > 0 {
		r.mem.lost = e.lost
		r.stats.lost.Add(uint64(d.lost))
		r.log.Warn("stream lost acknowledged messages, publishing them again", "stream", r.cfg.Stream, "n", d.lost, "sequence", e.state.Last)
	}
	if d.foreign > 0 {
		r.stats.foreign.Add(uint64(d.foreign))
		r.log.Warn("stream has messages that are not ours or not at their planned position", "stream", r.cfg.Stream, "n", d.foreign)
	}
	if n := d.gone.len(); n > 0 {
		r.stats.gone.Add(uint64(n))
		r.log.Error("stream lost messages whose events the table has dropped; they cannot be published again", "stream", r.cfg.Stream, "n", n, "position", d.gone.first)
	}
}

// appendBase appends to the log of bases, if the decision has one.
func (r *Relay) appendBase(ctx context.Context, d *decision) error {
	if d.append == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := r.table.AppendBase(ctx, r.pool, *d.append, d.reason, r.cfg.Name); err != nil {
		return err
	}
	crash.Point("rebased")
	r.stats.rebases.Add(1)
	r.log.Info("base set", "stream", r.cfg.Stream, "position", d.append.From, "sequence", d.append.From+d.append.Base, "reason", d.reason)
	return nil
}
