package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Row is a position of the plan and the row that has it.
type Row struct {
	Position int64
	RowID    int64     // 0 if retention has dropped the row
	ID       uuid.UUID // of the event
	Key      int64     // a hash of the key, or of the subject if there is no key
}

// Event is an event that a report names.
type Event struct {
	Position  int64 // 0 if it has none
	RowID     int64
	ID        uuid.UUID
	Subject   string
	Key       string
	PlannedAt time.Time // zero if it has no position
	CreatedAt time.Time // set only if it has no position
}

// Bounds is the end of the tables.
type Bounds struct {
	Position int64 // the last position of the plan
	Head     int64 // the highest row id with a position
	RowID    int64 // the highest row id
	Now      time.Time
}

// few is the largest number of events that are found by index, one by one.
const few = 64

// auditing runs f in a transaction in which the planner prefers indexes.
func (t *Tables) auditing(ctx context.Context, db outbox.Beginner, seqscan, bitmapscan string, f func(tx pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, t.q.AuditSettings, seqscan, bitmapscan); err != nil {
			return err
		}
		return f(tx)
	})
	return t.Migrated(err)
}

// Bounds reads the end of the tables.
func (t *Tables) Bounds(ctx context.Context, db outbox.DB) (b Bounds, err error) {
	if err := db.QueryRow(ctx, t.q.AuditBounds).Scan(&b.Position, &b.Head, &b.RowID, &b.Now); err != nil {
		return b, fmt.Errorf("audit: read the end of the plan: %w", t.Migrated(err))
	}
	return b, nil
}

// IDRange returns the lowest and the highest row id of the positions from first through last.
func (t *Tables) IDRange(ctx context.Context, db outbox.DB, first, last int64) (low, high int64, err error) {
	if err := db.QueryRow(ctx, t.q.AuditIDRange, first, last).Scan(&low, &high); err != nil {
		return 0, 0, fmt.Errorf("audit: read row ids: %w", err)
	}
	return low, high, nil
}

// Plan passes the rows at ranges of positions to each, in no particular order. It leaves out rows that retention has
// dropped.
func (t *Tables) Plan(ctx context.Context, db outbox.Beginner, first, last []int64, each func(Row)) error {
	err := t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
		return raw(ctx, tx, func(v [][]byte) {
			r := Row{Position: integer(v[0]), RowID: integer(v[1]), Key: integer(v[3])}
			copy(r.ID[:], v[2])
			each(r)
		}, t.q.AuditPlan, first, last)
	})
	if err != nil {
		return fmt.Errorf("audit: read the plan: %w", err)
	}
	return nil
}

// raw passes the columns of each row in their binary form, since scanning tens of millions of rows takes most of the
// time.
func raw(ctx context.Context, tx pgx.Tx, each func(values [][]byte), query string, args ...any) error {
	how := []any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}
	switch tx.Conn().Config().DefaultQueryExecMode {
	case pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec: // these modes, which some poolers need, support no binary results
		how = append(how, pgx.QueryExecModeDescribeExec)
	}
	rows, err := tx.Query(ctx, query, append(how, args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		each(rows.RawValues())
	}
	rows.Close()
	return rows.Err()
}

func integer(v []byte) int64 { return int64(binary.BigEndian.Uint64(v)) }

// Missing returns the events at ranges of positions that are not parked, lowest first.
func (t *Tables) Missing(ctx context.Context, db outbox.Beginner, first, last []int64) (events []Event, err error) {
	err = t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, t.q.AuditMissing, first, last)
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
			return e, row.Scan(&e.Position, &e.RowID, (*[16]byte)(&e.ID), &e.Subject, &e.Key, &e.PlannedAt)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit: read missing events: %w", err)
	}
	return events, nil
}

// Events returns those of the events that the table has, at whatever position.
func (t *Tables) Events(ctx context.Context, db outbox.Beginner, ids []uuid.UUID) (map[uuid.UUID]Event, error) {
	known := make(map[uuid.UUID]Event, len(ids))
	seqscan, bitmapscan := "off", "on"
	if len(ids) > few {
		seqscan, bitmapscan = "on", "off"
	}
	raw := make([][16]byte, len(ids))
	for i, id := range ids {
		raw[i] = id
	}
	err := t.auditing(ctx, db, seqscan, bitmapscan, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, t.q.AuditEvents, raw)
		if err != nil {
			return err
		}
		var e Event
		_, err = pgx.ForEachRow(rows, []any{&e.RowID, (*[16]byte)(&e.ID), &e.Subject, &e.Key}, func() error {
			known[e.ID] = e
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit: read events: %w", err)
	}
	return known, nil
}

// Dropped returns those of the positions whose rows retention has dropped.
func (t *Tables) Dropped(ctx context.Context, db outbox.Beginner, positions []int64) (gone map[int64]bool, err error) {
	gone = make(map[int64]bool)
	err = t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
		return raw(ctx, tx, func(v [][]byte) { gone[integer(v[0])] = true }, t.q.AuditDropped, positions)
	})
	if err != nil {
		return nil, fmt.Errorf("audit: read dropped rows: %w", err)
	}
	return gone, nil
}

// PlannedIDs passes to each the ranges of row ids from low through high that have a position, both ends included.
// Ranges can repeat.
func (t *Tables) PlannedIDs(ctx context.Context, db outbox.Beginner, low, high int64, each func(first, last int64)) error {
	err := t.auditing(ctx, db, "on", "off", func(tx pgx.Tx) error {
		return raw(ctx, tx, func(v [][]byte) { each(integer(v[0]), integer(v[1])) }, t.q.AuditPlannedIDs, low, high)
	})
	if err != nil {
		return fmt.Errorf("audit: read the plan: %w", err)
	}
	return nil
}

// auditIDs is how many row ids one transaction reads.
const auditIDs = 500_000

// IDs passes the ids of the rows from low through high to each, lowest first.
func (t *Tables) IDs(ctx context.Context, db outbox.Beginner, low, high int64, each func(id int64)) error {
	after := low - 1
	for n := auditIDs; n == auditIDs; {
		n = 0
		err := t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
			return raw(ctx, tx, func(v [][]byte) {
				n, after = n+1, integer(v[0])
				each(after)
			}, t.q.AuditIDs, after, high, auditIDs)
		})
		if err != nil {
			return fmt.Errorf("audit: read row ids: %w", err)
		}
	}
	return nil
}

// Unplanned returns those of the rows that still have no position and are older than grace.
func (t *Tables) Unplanned(ctx context.Context, db outbox.Beginner, ids []int64, grace time.Duration) (events []Event, err error) {
	err = t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, t.q.AuditUnplanned, ids, grace.Seconds())
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Event, err error) {
			return e, row.Scan(&e.RowID, (*[16]byte)(&e.ID), &e.Subject, &e.Key, &e.CreatedAt)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit: read rows without a position: %w", err)
	}
	return events, nil
}
