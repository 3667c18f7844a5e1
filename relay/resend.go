package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// resendPage is how many positions are read at a time.
const resendPage = 4096

// resend gives the events of a run of positions, planned since a time, another position at the end of the plan, where the relay publishes
// them. Events that have a later position already, or are parked, stay as they are. It returns how many it moved.
func (r *Relay) resend(ctx context.Context, positions run, since time.Time) (n int, err error) {
	err = r.eachUnparked(ctx, positions, since, func(page []table.PlannedRow) error {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		if err := r.table.Replan(ctx, r.pool, page, r.cfg.Name); err != nil {
			return err
		}
		crash.Point("replanned")
		n += len(page)
		return nil
	})
	return n, err
}

// eachUnparked passes the events of a run of positions, planned since a time, that are neither parked nor have a later position, to each, a page
// at a time.
func (r *Relay) eachUnparked(ctx context.Context, positions run, since time.Time, each func(page []table.PlannedRow) error) error {
	for first := positions.first; first <= positions.last; first += resendPage {
		query, cancel := context.WithTimeout(ctx, queryTimeout)
		page, err := r.table.ExpectedPositions(query, r.pool, first, min(positions.last, first+resendPage-1), since)
		cancel()
		if err != nil {
			return err
		}
		if len(page) == 0 {
			continue
		}
		if err := each(page); err != nil {
			return err
		}
	}
	return nil
}
