package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Accepted returns the sequences of a stream that repairs have accepted, lowest first.
func (t *Tables) Accepted(ctx context.Context, db outbox.DB, stream table.Stream) ([]uint64, error) {
	rows, err := db.Query(ctx, t.q.AuditAccepted, source(stream))
	if err != nil {
		return nil, fmt.Errorf("audit: read what was accepted: %w", t.Migrated(err))
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("audit: read what was accepted: %w", t.Migrated(err))
	}
	out := make([]uint64, len(numbers))
	for i, n := range numbers {
		out[i] = uint64(n)
	}
	return out, nil
}

// source returns the source, in outbox.decision, of decisions about messages of a stream.
func source(s table.Stream) string {
	return "stream " + s.Name + "@" + s.Created.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
}

const accepted = "accepted"

// Accept records that messages of a stream remain as they are, by sequence, and inserts a copy of each of the rows,
// in one transaction. It returns how many of the sequences had not been accepted before, and the ids of the copies.
// If all of them had, it inserts no copy.
func (t *Tables) Accept(ctx context.Context, db outbox.Beginner, stream table.Stream, sequences []uint64, rows []int64) (n int, copies []int64, err error) {
	numbers, none := make([]int64, len(sequences)), make([]string, len(sequences))
	for i, s := range sequences {
		numbers[i] = int64(s)
	}
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, t.q.DeadDecide, source(stream), numbers, accepted, none)
		if err != nil {
			return fmt.Errorf("record decisions: %w", err)
		}
		if n = int(tag.RowsAffected()); n == 0 {
			return nil
		}
		copies, err = t.Copy(ctx, tx, rows)
		return err
	})
	if err != nil {
		return 0, nil, fmt.Errorf("audit: accept %d messages: %w", len(sequences), t.Migrated(err))
	}
	return n, copies, nil
}

// Copy inserts a copy of each of the rows, which names its original, and returns the ids of the copies.
func (t *Tables) Copy(ctx context.Context, db outbox.DB, rows []int64) ([]int64, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	made, err := db.Query(ctx, t.q.AuditCopy, rows)
	if err != nil {
		return nil, fmt.Errorf("insert copies: %w", err)
	}
	ids, err := pgx.CollectRows(made, pgx.RowTo[int64])
	if err != nil {
		return nil, fmt.Errorf("insert copies: %w", err)
	}
	return ids, nil
}

// PlanOrphans gives positions to those of the rows that have none and that the plan will not find anymore, and
// returns how many. It returns table.ErrPlanned if a relay planned meanwhile.
func (t *Tables) PlanOrphans(ctx context.Context, db outbox.DB, rows []int64, by string) (n int64, err error) {
	err = db.QueryRow(ctx, t.q.AuditOrphans, rows, by).Scan(&n)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, nil
	case sqlstate.Is(err, sqlstate.UniqueViolation):
		return 0, fmt.Errorf("plan %d rows: %w", len(rows), table.ErrPlanned)
	case err != nil:
		return 0, fmt.Errorf("plan %d rows: %w", len(rows), err)
	}
	return n, nil
}

// WakeRelay wakes a sleeping relay, so that it loads what the repair planned.
func (t *Tables) WakeRelay(ctx context.Context, db outbox.DB) error {
	if _, err := db.Exec(ctx, t.q.WakeRelay); err != nil {
		return fmt.Errorf("wake the relay: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}
