package table

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox"

	"github.com/jackc/pgx/v5"
)

// Park records that the stream will never accept an event. reason is one word, detail a sentence.
func (t *Table) Park(ctx context.Context, db outbox.DB, p *Planned, reason, detail, relay string) error {
	if _, err := db.Exec(ctx, t.q.Park, p.Position, p.RowID, p.ID.String(), p.Subject, reason, detail, relay); err != nil {
		return fmt.Errorf("park event %s: %w", p.ID, err)
	}
	return nil
}

// Reasons of positions that no event is published at.
const (
	ReasonDisplaced = "displaced" // the event was given a later position
	ReasonGone      = "gone"      // retention dropped the event before a stream that lost messages, or was created again, got it
)

// MarkDisplaced marks the positions above after that belong to some events which the stream already has at another
// position, so that the relay publishes nothing there. It returns how many it marked. Every event must have been
// planned before.
func (t *Table) MarkDisplaced(ctx context.Context, db outbox.DB, ids []uuid.UUID, after int64, relay string) (int64, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	tag, err := db.Exec(ctx, t.q.MarkDisplaced, texts, after, relay)
	if err != nil {
		return 0, fmt.Errorf("mark the positions of %d events: %w", len(ids), err)
	}
	return tag.RowsAffected(), nil
}

// PlannedRow is a position and the id of the row that has it.
type PlannedRow struct{ Position, RowID int64 }

// Replan gives events that are missing in the stream new positions at the end of the plan, and marks their old
// positions as displaced, in one transaction. The rows must be in ascending order of their positions and not parked.
// It returns ErrPlanned if another relay planned meanwhile.
func (t *Table) Replan(ctx context.Context, db outbox.DB, rows []PlannedRow, relay string) error {
	positions, ids := make([]int64, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		positions[i], ids[i] = r.Position, r.RowID
	}
	_, err := db.Exec(ctx, t.q.Replan, positions, ids, relay)
	if sqlstate.Is(err, sqlstate.UniqueViolation) {
		return fmt.Errorf("replan %d events: %w", len(rows), ErrPlanned)
	}
	if err != nil {
		return fmt.Errorf("replan %d events: %w", len(rows), err)
	}
	return nil
}

// ExpectedPositions returns what the stream must have at the positions from first through last, lowest first: the
// rows that were planned at or after since, that the table still has, and that are not parked. The caller should ask
// for a few thousand positions at a time.
func (t *Table) ExpectedPositions(ctx context.Context, db outbox.DB, first, last int64, since time.Time) ([]PlannedRow, error) {
	rows, err := t.NoJIT(ctx, db, t.q.ExpectedPositions, first, last, since)
	if err != nil {
		return nil, fmt.Errorf("read events at positions %d to %d: %w", first, last, err)
	}
	planned, err := pgx.CollectRows(rows, pgx.RowToStructByPos[PlannedRow])
	if err != nil {
		return nil, fmt.Errorf("read events at positions %d to %d: %w", first, last, err)
	}
	return planned, nil
}

// OldestPosition returns a position that is not above that of any event in the table, or the one after the last
// position if the table has no planned event.
func (t *Table) OldestPosition(ctx context.Context, db outbox.DB) (position int64, err error) {
	rows, err := t.NoJIT(ctx, db, t.q.OldestPosition)
	if err == nil {
		position, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	}
	if err != nil {
		return 0, fmt.Errorf("read the oldest position: %w", err)
	}
	return position, nil
}
