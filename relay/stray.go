package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// strays are events that the stream has at positions which the plan gave to others, or to none: the database failed over and
// lost the plan that they were published by, or is a copy whose original went on. It may have the events all the same.
type strays struct {
	ids   []uuid.UUID
	after int64  // no position up to here is theirs
	end   uint64 // sequence that the scan came to
}

func (s *strays) Error() string {
	return fmt.Sprintf("stream has %d events at other positions", len(s.ids))
}

// keep has events that the stream has already not published again. First everything is planned: nearly always in the order
// of the plan that was lost, so that many positions turn out to be those in the stream. When the next scan finds strays all
// the same, their new positions are marked as displaced, and nothing is published there. It returns nil when the window is to
// begin again, and every other error of resume as it is.
func (r *Relay) keep(ctx context.Context, s *table.Session, resumed error) error {
	found, ok := errors.AsType[*strays](resumed)
	if !ok {
		return resumed
	}
	if found.end > r.replanned {
		if err := r.planAll(ctx, s); err != nil {
			return &sessionError{err}
		}
		r.replanned = found.end
		return nil
	}
	keep, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	n, err := r.table.Keep(keep, r.pool, found.ids, found.after, r.cfg.Name)
	if err != nil {
		return err
	}
	r.kept = found.end
	r.log.Warn("stream has events that the plan has elsewhere: those stay where they are", "stream", r.cfg.Stream, "n", n, "foreign", len(found.ids)-int(n))
	return nil
}

// planAll plans until nothing waits, 10 minutes at most: planning is much faster than inserting.
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
