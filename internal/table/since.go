package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// searchRounds bounds the binary search.
const searchRounds = 64

// PlannedSince returns the first position that was planned at or after since, and at most the one after last.
func (t *Table) PlannedSince(ctx context.Context, db outbox.DB, since time.Time, last int64) (position int64, err error) {
	low, err := t.SearchPlanned(ctx, db, since, last)
	if err != nil {
		return 0, err
	}
	err = db.QueryRow(ctx, t.q.BatchFrom, low).Scan(&position)
	if errors.Is(err, pgx.ErrNoRows) {
		return last + 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find the first position planned since %s: %w", since.Format(time.RFC3339), err)
	}
	return min(position, last+1), nil
}

// SearchPlanned returns a position after the first ones of all batches planned before since, and not after the first
// one planned later.
func (t *Table) SearchPlanned(ctx context.Context, db outbox.DB, since time.Time, last int64) (int64, error) {
	low, high := int64(1), last+1
	for range searchRounds {
		if low >= high {
			break
		}
		middle := low + (high-low)/2
		var at time.Time
		err := db.QueryRow(ctx, t.q.PlannedAfter, middle).Scan(&at)
		switch {
		case errors.Is(err, pgx.ErrNoRows) || err == nil && !at.Before(since):
			high = middle
		case err != nil:
			return 0, fmt.Errorf("find the first position planned since %s: %w", since.Format(time.RFC3339), err)
		default:
			low = middle + 1
		}
	}
	return low, nil
}
