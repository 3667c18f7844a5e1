package relay

import (
	"context"
	"fmt"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// park sets an event aside: the row first, durable before the marker that is published in its place, so that every
// relay that ever comes to this position publishes the marker too.
func (r *Relay) park(ctx context.Context, e *table.Planned, reason string, why error) error {
	if r.cfg.OnRefuse == Halt {
		return fmt.Errorf("%w: event %s at position %d, subject %s: %s: %w; mend the stream, or run outbox relay with --on-refuse park",
			ErrRefused, e.ID, e.Position, e.Subject, reason, why)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := r.table.Park(ctx, r.pool, e, reason, why.Error(), r.cfg.Name); err != nil {
		return err
	}
	crash.Point("parked")
	r.stats.parked.Add(1)
	r.log.Warn("event parked", "event_id", e.ID, "subject", e.Subject, "key", e.Key, "reason", reason, "err", why)
	return nil
}

// mend does what a doubt about the very next position asks for before it is published again: park what is refused,
// give a fresh message id to what the stream only remembers. It returns the position that needs such an id, or 0.
//
// A server that found a damaged block after it had started holds two opinions of where the stream ends: it stores behind
// what it still has, and expects what it had before (nats-server 2.15.2). A message that names the latter gets to the
// right place, and the server back to one opinion. In a cluster the difference is just what is under way.
func (r *Relay) mend(ctx context.Context, d *doubt, at *place) (freshID int64, err error) {
	if d != nil && d.class == unknown && d.position == at.next && d.sequence > at.last && at.replicas == 1 {
		at.believed = d.sequence
	}
	if d == nil || d.position != at.next || d.class != refused && d.class != duplicate {
		return 0, nil
	}
	events, err := r.load(ctx, at.next, table.Page{Events: 1, Bytes: 1})
	if err != nil {
		return 0, err
	}
	if len(events) == 0 || events[0].Parked != "" {
		return 0, nil
	}
	e := &events[0]
	if d.class == refused {
		return 0, r.park(ctx, e, d.reason, d.err)
	}
	// The stream answered that it has this message id. If it holds another event of ours under it, the id was used twice
	// by its writer; if not (purged, lost), only its memory is in the way.
	m, err := r.message(ctx, d.sequence)
	if err != nil {
		return 0, err
	}
	switch there := m != nil && m.ours && !m.marker && m.event.ID == e.ID; {
	case !there:
		return e.Position, nil
	case m.event.Position == e.Position: // it is published, elsewhere: a marker takes its place here
		return 0, r.park(ctx, e, table.Displaced, fmt.Errorf("published at sequence %d", d.sequence))
	default:
		return 0, r.park(ctx, e, reasonDuplicateID, fmt.Errorf("position %d has the same event id", m.event.Position))
	}
}
