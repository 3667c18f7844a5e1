package relay

import (
	"context"
	"fmt"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// park sets an event aside. It writes the row before the marker is published at the event's position, so that every relay that reaches
// the position publishes the marker too.
func (r *Relay) park(ctx context.Context, e *table.Planned, reason string, why error) error {
	if r.cfg.OnRefuse == RefusedHalt {
		return fmt.Errorf("%w: event %s at position %d, subject %s: %s: %w; fix the stream, or run outbox relay with --on-refuse park",
			ErrRefused, e.ID, e.Position, e.Subject, reason, why)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := r.table.Park(ctx, r.pool, e, reason, why.Error(), r.cfg.Name); err != nil {
		return err
	}
	crash.Point("parked")
	r.stats.parked.Add(1)
	r.log.Warn("event parked; outbox dead list shows it", "event_id", e.ID, "subject", e.Subject, "key", e.Key, "reason", reason, "err", why)
	return nil
}
