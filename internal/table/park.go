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

// Park records that an event can never be published, and why: reason is one word, detail a sentence.
func (t *Table) Park(ctx context.Context, db outbox.DB, p *Planned, reason, detail, relay string) error {
	if _, err := db.Exec(ctx, t.q.Park, p.Position, p.RowID, p.ID.String(), p.Subject, reason, detail, relay); err != nil {
		return fmt.Errorf("park event %s: %w", p.ID, err)
	}
	return nil
}

// Reason of a position whose event was given a later one.
const Displaced = "displaced"

// Keep marks the positions after one that the plan gave to events which the stream has already elsewhere: nothing is
// published there. It returns how many these are. Everything must be planned before.
func (t *Table) Keep(ctx context.Context, db outbox.DB, ids []uuid.UUID, after int64, relay string) (int64, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	tag, err := db.Exec(ctx, t.q.MarkDisplaced, texts, after, relay)
	if err != nil {
		return 0, fmt.Errorf("keep %d events: %w", len(ids), err)
	}
	return tag.RowsAffected(), nil
}

// Place is a position and the row whose event has it.
type Place struct{ Position, RowID int64 }

// Replan gives planned events new positions at the end of the plan, since the stream does not have them where the old
// ones belong, and marks the old ones as displaced: all or nothing. The places are in ascending order and not
// parked. ErrPlanned means that another relay plans.
func (t *Table) Replan(ctx context.Context, db outbox.DB, places []Place, relay string) error {
	positions, ids := make([]int64, len(places)), make([]int64, len(places))
	for i, p := range places {
		positions[i], ids[i] = p.Position, p.RowID
	}
	_, err := db.Exec(ctx, t.q.Replan, positions, ids, relay)
	if sqlstate.Is(err, sqlstate.UniqueViolation) {
		return fmt.Errorf("replan %d events: %w", len(places), ErrPlanned)
	}
	if err != nil {
		return fmt.Errorf("replan %d events: %w", len(places), err)
	}
	return nil
}

// Unparked returns the places from first through last that were planned since a time, whose events the table still
// has, and that are not parked, lowest first. Ask for some thousand positions at a time.
func (t *Table) Unparked(ctx context.Context, db outbox.DB, first, last int64, since time.Time) ([]Place, error) {
	rows, err := t.NoJIT(ctx, db, t.q.ExpectedPositions, first, last, since)
	if err != nil {
		return nil, fmt.Errorf("look for events at positions %d to %d: %w", first, last, err)
	}
	places, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Place])
	if err != nil {
		return nil, fmt.Errorf("look for events at positions %d to %d: %w", first, last, err)
	}
	return places, nil
}

// Oldest returns a position that no event of the table has an earlier one than; the one after the last when the table has none
// that is planned.
func (t *Table) Oldest(ctx context.Context, db outbox.DB) (position int64, err error) {
	rows, err := t.NoJIT(ctx, db, t.q.OldestPosition)
	if err == nil {
		position, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
	}
	if err != nil {
		return 0, fmt.Errorf("look for the oldest event: %w", err)
	}
	return position, nil
}
