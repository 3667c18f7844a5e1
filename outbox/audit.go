package outbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// What an audit reads of the tables: page by page, each in a transaction of its own, so that an audit of an hour holds no snapshot
// for an hour. The plan is append-only, so pages that are read later say the same.

// AuditRow is what the plan has at a position.
type AuditRow struct {
	Position int64
	RowID    int64     // 0: the table has no such row
	ID       uuid.UUID // of the event
	Key      int64     // a hash of the key, or of the subject where there is none
}

// AuditEvent is an event that an audit names.
type AuditEvent struct {
	Position  int64 // 0: it has none
	RowID     int64
	ID        uuid.UUID
	Subject   string
	Key       string
	PlannedAt time.Time // zero: it has no position
	CreatedAt time.Time // of those without a position
}

// AuditBounds is where the tables end.
type AuditBounds struct {
	Position int64 // the last of the plan
	Head     int64 // the highest row id that has one
	RowID    int64 // the highest row id
	Now      time.Time
}

// few is up to how many events are looked up by index, each for itself.
const few = 64

// auditing runs f in a transaction whose statements keep to their indexes.
func (t *Table) auditing(ctx context.Context, db Beginner, seqscan, bitmapscan string, f func(tx pgx.Tx) error) error {
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, t.q.AuditSettings, seqscan, bitmapscan); err != nil {
			return err
		}
		return f(tx)
	})
	return t.migrated(err)
}

// AuditBounds reads where the tables end.
func (t *Table) AuditBounds(ctx context.Context, db DB) (b AuditBounds, err error) {
	if err := db.QueryRow(ctx, t.q.AuditBounds).Scan(&b.Position, &b.Head, &b.RowID, &b.Now); err != nil {
		return b, fmt.Errorf("audit: read where the plan ends: %w", t.migrated(err))
	}
	return b, nil
}

// PlannedSince finds the first position that was planned at or after a time, at the latest the one behind last.
func (t *Table) PlannedSince(ctx context.Context, db DB, since time.Time, last int64) (position int64, err error) {
	low, err := t.plannedSince(ctx, db, since, last)
	if err != nil {
		return 0, err
	}
	err = db.QueryRow(ctx, t.q.AuditBatch, low).Scan(&position)
	if errors.Is(err, pgx.ErrNoRows) {
		return last + 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("audit: look for the plan of %s: %w", since.Format(time.RFC3339), err)
	}
	return min(position, last+1), nil
}

// AuditSpan returns the lowest and the highest row id of the positions from first through last.
func (t *Table) AuditSpan(ctx context.Context, db DB, first, last int64) (low, high int64, err error) {
	if err := db.QueryRow(ctx, t.q.AuditSpan, first, last).Scan(&low, &high); err != nil {
		return 0, 0, fmt.Errorf("audit: read row ids: %w", err)
	}
	return low, high, nil
}

// AuditPlan hands what the plan has at spans of positions to each, in no order. Positions whose rows were dropped are left out.
func (t *Table) AuditPlan(ctx context.Context, db Beginner, first, last []int64, each func(AuditRow)) error {
	err := t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
		return raw(ctx, tx, func(v [][]byte) {
			r := AuditRow{Position: integer(v[0]), RowID: integer(v[1]), Key: integer(v[3])}
			copy(r.ID[:], v[2])
			each(r)
		}, t.q.AuditPlan, first, last)
	})
	if err != nil {
		return fmt.Errorf("audit: read the plan: %w", err)
	}
	return nil
}

// raw reads columns as they come, in their binary form: in tens of millions of rows, scanning them is what costs.
func raw(ctx context.Context, tx pgx.Tx, each func(values [][]byte), query string, args ...any) error {
	how := []any{pgx.QueryResultFormats{pgx.BinaryFormatCode}}
	switch tx.Conn().Config().DefaultQueryExecMode {
	case pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec: // for some pooler; they know no binary form
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

// AuditAbsent returns the events at spans of positions that are not parked, lowest first.
func (t *Table) AuditAbsent(ctx context.Context, db Beginner, first, last []int64) (events []AuditEvent, err error) {
	err = t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, t.q.AuditAbsent, first, last)
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e AuditEvent, err error) {
			return e, row.Scan(&e.Position, &e.RowID, (*[16]byte)(&e.ID), &e.Subject, &e.Key, &e.PlannedAt)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit: read what is not in the stream: %w", err)
	}
	return events, nil
}

// AuditKnown returns which of some events the table has, wherever they are planned.
func (t *Table) AuditKnown(ctx context.Context, db Beginner, ids []uuid.UUID) (map[uuid.UUID]AuditEvent, error) {
	known := make(map[uuid.UUID]AuditEvent, len(ids))
	seqscan, bitmapscan := "off", "on"
	if len(ids) > few {
		seqscan, bitmapscan = "on", "off"
	}
	raw := make([][16]byte, len(ids))
	for i, id := range ids {
		raw[i] = id
	}
	err := t.auditing(ctx, db, seqscan, bitmapscan, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, t.q.AuditKnown, raw)
		if err != nil {
			return err
		}
		var e AuditEvent
		_, err = pgx.ForEachRow(rows, []any{&e.RowID, (*[16]byte)(&e.ID), &e.Subject, &e.Key}, func() error {
			known[e.ID] = e
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit: look for events: %w", err)
	}
	return known, nil
}

// AuditGone returns those of some positions whose rows retention has dropped.
func (t *Table) AuditGone(ctx context.Context, db Beginner, positions []int64) (gone map[int64]bool, err error) {
	gone = make(map[int64]bool)
	err = t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
		return raw(ctx, tx, func(v [][]byte) { gone[integer(v[0])] = true }, t.q.AuditGone, positions)
	})
	if err != nil {
		return nil, fmt.Errorf("audit: look for dropped rows: %w", err)
	}
	return gone, nil
}

// AuditRuns hands the runs of row ids from low through high that have a position to each, both ends included; some come twice.
func (t *Table) AuditRuns(ctx context.Context, db Beginner, low, high int64, each func(first, last int64)) error {
	err := t.auditing(ctx, db, "on", "off", func(tx pgx.Tx) error {
		return raw(ctx, tx, func(v [][]byte) { each(integer(v[0]), integer(v[1])) }, t.q.AuditRuns, low, high)
	})
	if err != nil {
		return fmt.Errorf("audit: read the plan: %w", err)
	}
	return nil
}

// auditIDs is how many row ids are read in one transaction.
const auditIDs = 500_000

// AuditIDs hands the ids of the rows from low through high to each, lowest first.
func (t *Table) AuditIDs(ctx context.Context, db Beginner, low, high int64, each func(id int64)) error {
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

// AuditUnplanned returns those of some rows that still have no position, and were created longer ago than grace.
func (t *Table) AuditUnplanned(ctx context.Context, db Beginner, ids []int64, grace time.Duration) (events []AuditEvent, err error) {
	err = t.auditing(ctx, db, "off", "off", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, t.q.AuditUnplanned, ids, grace.Seconds())
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e AuditEvent, err error) {
			return e, row.Scan(&e.RowID, (*[16]byte)(&e.ID), &e.Subject, &e.Key, &e.CreatedAt)
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit: read rows without a position: %w", err)
	}
	return events, nil
}
