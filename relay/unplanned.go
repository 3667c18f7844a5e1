package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// adoptUnplanned makes sure that events which the stream has already are not published again. First it plans everything, nearly
// always in the order of the plan that was lost, so that many positions turn out to be those in the stream. If the next resume
// finds unplanned events all the same, it marks the new positions of those events as displaced, and nothing is published there.
func (r *Relay) adoptUnplanned(ctx context.Context, s *table.Session, found *unplanned) error {
	if found.end > r.mem.planned {
		if err := r.planAll(ctx, s); err != nil {
			return &sessionError{err}
		}
		r.mem.planned = found.end
		return nil
	}
	keep, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	n, err := r.table.MarkDisplaced(keep, r.pool, found.ids, found.after, r.cfg.Name)
	if err != nil {
		return err
	}
	r.mem.adopted = found.end
	r.log.Warn("stream has events that the plan puts elsewhere; they keep their sequences", "stream", r.cfg.Stream, "n", n, "foreign", len(found.ids)-int(n))
	return nil
}

// planAll plans until nothing is left, within 10 minutes: planning is much faster than inserting.
func (r *Relay) planAll(ctx context.Context, s *table.Session) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		events, err := s.Plan(ctx, table.Page{Events: r.cfg.BatchEvents, Bytes: r.cfg.BatchBytes})
		if err != nil || len(events) == 0 {
			return err
		}
	}
}
