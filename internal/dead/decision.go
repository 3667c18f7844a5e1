package dead

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// A decision is a row of outbox.decision.
type decision struct {
	copy uuid.UUID
	at   time.Time
}

// about reports whether the decision is about e, and not about a dead letter that had its number before the dead-letter
// stream lost messages.
func (d *decision) about(e *Event) bool {
	switch {
	case e.Stored.IsZero():
		return true
	case d.copy != uuid.Nil:
		return d.copy == e.Copy
	}
	return !e.Stored.After(d.at)
}

// sift forgets the events that were decided, and returns the others.
func (d *decider) sift(ctx context.Context, batch []Event) (open []Event, err error) {
	if len(batch) == 0 {
		return nil, nil
	}
	decisions, err := d.decisions(ctx, batch)
	if err != nil {
		return nil, fmt.Errorf("read decisions: %w", d.s.t.Migrated(err))
	}
	var decided []Event
	for i := range batch {
		e := &batch[i]
		switch made, ok := decisions[e.Number]; {
		case !ok:
			open = append(open, *e)
		case made.about(e):
			decided = append(decided, *e)
		default:
			d.fail(e, fmt.Errorf("outbox.decision has a decision of %s about another dead letter with this number: the dead-letter stream lost messages",
				made.at.UTC().Format(time.RFC3339)))
		}
	}
	d.out.Already += len(decided)
	return open, d.source.Forget(ctx, decided)
}

func (d *decider) decisions(ctx context.Context, batch []Event) (map[int64]decision, error) {
	rows, err := d.db.Query(ctx, d.s.q.DeadDecided, batch[0].Origin, numbers(batch))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make(map[int64]decision)
	for rows.Next() {
		var (
			number int64
			id     pgtype.UUID
			made   decision
		)
		if err := rows.Scan(&number, &id, &made.at); err != nil {
			return nil, err
		}
		made.copy = id.Bytes
		out[number] = made
	}
	rows.Close()
	return out, rows.Err()
}

func numbers(batch []Event) []int64 {
	out := make([]int64, len(batch))
	for i := range batch {
		out[i] = batch[i].Number
	}
	return out
}
