package table

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Status is the state of an outbox with regard to one stream.
type Status struct {
	Pending   int64         // committed events that the stream has not acknowledged
	Published int64         // events that the stream has acknowledged
	Parked    int64         // parked events that nobody has decided about
	Lag       time.Duration // age of the oldest pending event; 0 if there is none
	Planned   int64         // last position of the plan
	Acked     int64         // position of the last receipt
	Sequence  uint64        // sequence of that receipt
	Leader    string        // session that holds the leader lock; empty if no relay leads
	Asleep    bool          // the relay sleeps, so writers notify
	Relay     string        // that planned last
	PlannedAt time.Time
}

// Status reads the state of the outbox. Receipts are coalesced, so the state may be a second older than the stream.
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
