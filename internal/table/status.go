package table

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Status is where an outbox stands for one stream.
type Status struct {
	Pending   int64         // committed events that are not acknowledged yet
	Published int64         // events acknowledged by the stream
	Parked    int64         // events that can never be published
	Lag       time.Duration // age of the oldest pending event; 0 when there is none
	Planned   int64         // last position of the plan
	Acked     int64         // position of the last receipt
	Sequence  uint64        // where that lies in the stream
	Leader    string        // the session that holds the leader lock; empty when nobody leads
	Asleep    bool          // a relay sleeps: writers notify
	Relay     string        // who planned last, and when
	PlannedAt time.Time
}

// Status reads where the outbox stands. Receipts are coalesced, so it may be a second behind the stream.
func (t *Table) Status(ctx context.Context, db outbox.DB, stream string) (Status, error) {
	var (
		s                          Status
		sequence, waiting, markers int64
		acked, oldest, now         *time.Time
	)
	rows, err := t.NoJIT(ctx, db, t.q.Status, stream)
	if err == nil {
		_, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (struct{}, error) {
			return struct{}{}, row.Scan(&s.Planned, &s.Acked, &sequence, &acked, &waiting, &s.Parked, &markers, &oldest, &now,
				&s.Relay, &s.PlannedAt, &s.Leader, &s.Asleep)
		})
	}
	if err != nil {
		return Status{}, fmt.Errorf("read status: %w", t.Migrated(err))
	}
	s.Sequence = uint64(sequence)
	s.Pending = s.Planned - s.Acked + waiting
	s.Published = max(s.Acked-markers, 0)
	if oldest != nil && s.Pending > 0 {
		s.Lag = max(now.Sub(*oldest), 0)
	}
	return s, nil
}
