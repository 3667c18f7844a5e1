package table

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Trail is what the tables have about one event. The time of what has not happened is zero.
type Trail struct {
	event.Event
	RowID       int64  // id of the row
	Xid         string // of the transaction that wrote it
	State       string // pending, published, parked, replayed or dropped
	PlannedAt   time.Time
	Relay       string    // that planned it
	Stream      string    // that acknowledged it
	Sequence    uint64    // its sequence there
	PublishedAt time.Time // upper bound, since receipts are coalesced
	Reason      string    // why it was parked
	Detail      string
	ParkedAt    time.Time
}

// TrailOf returns the trail of an event, and those of its copies. It returns none if the table does not have the event.
func (t *Table) TrailOf(ctx context.Context, db outbox.DB, id uuid.UUID) ([]Trail, error) {
	return t.trail(ctx, db, t.q.TrailEvent, id.String())
}

// TrailOfKey returns the trails of the last events of a key, newest first, at most n.
func (t *Table) TrailOfKey(ctx context.Context, db outbox.DB, key string, since time.Time, n int) ([]Trail, error) {
	return t.trail(ctx, db, t.q.TrailKey, key, since, n)
}

// TrailOfRows returns the trails of rows, newest first.
func (t *Table) TrailOfRows(ctx context.Context, db outbox.DB, ids []int64) ([]Trail, error) {
	return t.trail(ctx, db, t.q.TrailID, ids)
}

func (t *Table) trail(ctx context.Context, db outbox.DB, query string, args ...any) ([]Trail, error) {
	rows, err := db.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read trail: %w", t.Migrated(err))
	}
	out, err := pgx.CollectRows(rows, scanTrail)
	if err != nil {
		return nil, fmt.Errorf("read trail: %w", t.Migrated(err))
	}
	return out, nil
}

func scanTrail(row pgx.CollectableRow) (t Trail, err error) {
	var (
		sequence                   int64
		planned, published, parked *time.Time
		headers                    []byte
		original                   pgtype.UUID
	)
	err = row.Scan(&t.RowID, (*[16]byte)(&t.ID), &t.Subject, &t.Key, &t.CreatedAt, &t.State, &t.Position, &planned, &t.Stream, &sequence, &published,
		&t.Reason, &t.Detail, &parked, &original, &t.Xid, &t.Payload, &headers, &t.Relay)
	if err != nil {
		return t, err
	}
	t.Sequence, t.ResendOf = uint64(sequence), uuid.UUID(original.Bytes)
	for from, to := range map[*time.Time]*time.Time{planned: &t.PlannedAt, published: &t.PublishedAt, parked: &t.ParkedAt} {
		if from != nil {
			*to = *from
		}
	}
	return t, decodeHeaders(headers, &t.Event)
}

func decodeHeaders(headers []byte, e *event.Event) error {
	if headers == nil {
		return nil
	}
	if err := json.Unmarshal(headers, &e.Headers); err != nil {
		return fmt.Errorf("decode headers of event %s: %w", e.ID, err)
	}
	return nil
}

// RecentEvents passes the newest events that were created at or after since to each, newest first, until each returns
// false or limit events were read. It returns how many it read. The events have no position.
func (t *Table) RecentEvents(ctx context.Context, db outbox.DB, since time.Time, limit int, each func(rowID int64, e *event.Event) bool) (read int, err error) {
	before := int64(1<<63 - 1)
	for read < limit {
		const page = 2000
		rows, err := db.Query(ctx, t.q.RecentEvents, before, since, min(page, limit-read))
		if err != nil {
			return read, fmt.Errorf("read recent events: %w", t.Migrated(err))
		}
		more, got := true, 0
		var headers []byte
		var e event.Event
		_, err = pgx.ForEachRow(rows, []any{&before, (*[16]byte)(&e.ID), &e.Subject, &e.Key, &e.Payload, &headers, &e.CreatedAt}, func() error {
			got++
			if !more {
				return nil
			}
			e.Headers = nil
			if err := decodeHeaders(headers, &e); err != nil {
				return err
			}
			more = each(before, &e)
			return nil
		})
		read += got
		if err != nil {
			return read, fmt.Errorf("read recent events: %w", err)
		}
		if !more || got == 0 {
			break
		}
	}
	return read, nil
}
