package outbox

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Planned is an event that has its position.
type Planned struct {
	Event
	RowID     int64     // id of the row
	PlannedAt time.Time // when its batch was planned, by the clock of the database
	Parked    string    // reason, when the event was parked
	Again     bool      // it has an earlier position too, so the stream may have seen its id
	Malformed error     // why Headers could not be read from the row, which got past the CHECKs then
}

// Page bounds what one Plan or Load returns. Both are at least 1; one event comes however large it is.
type Page struct {
	Events int // at most
	Bytes  int // of payload; the event that passes it is the last
}

// Cursor is how far the plan goes.
type Cursor struct {
	LastPosition int64     // 0 before the first batch
	Head         int64     // the highest row id that has a position
	Relay        string    // who planned it
	PlannedAt    time.Time // when
}

// Cursor reads the cursor.
func (t *Table) Cursor(ctx context.Context, db DB) (Cursor, error) {
	var c Cursor
	err := db.QueryRow(ctx, t.q.Cursor).Scan(&c.LastPosition, &c.Head, &c.Relay, &c.PlannedAt)
	if err != nil {
		return Cursor{}, fmt.Errorf("read the cursor: %w", t.migrated(err))
	}
	return c, nil
}

// Load reads planned events from a position on, in position order. Fewer than page.Events does not mean that there
// are no more: ask again from the position after the last. Parked ones come with their reason.
func (t *Table) Load(ctx context.Context, db DB, from int64, page Page) ([]Planned, error) {
	rows, err := db.Query(ctx, t.q.Load, from, page.Events, page.Bytes)
	if err != nil {
		return nil, fmt.Errorf("load planned events from position %d: %w", from, err)
	}
	events, err := scanPlanned(rows, true)
	if err != nil {
		return nil, fmt.Errorf("load planned events from position %d: %w", from, err)
	}
	return events, nil
}

// scanPlanned reads the columns that plan.sql and load.sql share; load.sql adds why it is parked and whether it comes
// again, and says each position where plan.sql says the first (see number). What it scans into is made once, and what no row has costs nothing.
func scanPlanned(rows pgx.Rows, parked bool) ([]Planned, error) {
	defer rows.Close()
	var (
		out      []Planned
		p        Planned
		key      pgtype.Text
		headers  []byte
		original pgtype.UUID
	)
	into := []any{&p.Position, &p.RowID, (*[16]byte)(&p.ID), &p.Subject, &key, &p.Payload, &p.ContentType, &headers,
		&original, &p.CreatedAt, &p.PlannedAt, &p.Parked, &p.Again}
	if !parked {
		into = into[:len(into)-2]
	}
	for rows.Next() {
		p = Planned{}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		p.Key, p.ResendOf = key.String, uuid.UUID(original.Bytes)
		if headers != nil {
			if err := json.Unmarshal(headers, &p.Headers); err != nil { // one row must not stop the others
				p.Headers, p.Malformed = nil, fmt.Errorf("decode headers: %w", err)
			}
		}
		if p.ContentType == DefaultContentType {
			p.ContentType = DefaultContentType // one string for all of them
		}
		out = append(out, p)
	}
	// Closed first: a deferred error of the commit comes after the last row.
	rows.Close()
	return out, rows.Err()
}

// number gives the events of a plan their positions, in id order from the first on.
func number(events []Planned) []Planned {
	byID := func(a, b Planned) int { return cmp.Compare(a.RowID, b.RowID) }
	if !slices.IsSortedFunc(events, byID) {
		slices.SortFunc(events, byID)
	}
	for i := range events {
		events[i].Position += int64(i)
	}
	return events
}

func (t *Table) migrated(err error) error {
	if hasCode(err, undefinedTable) || hasCode(err, invalidSchemaName) || hasCode(err, undefinedFunction) {
		return fmt.Errorf("%w: schema %q; run: outbox migrate up --schema %s: %w", ErrNotMigrated, t.q.Schema, t.q.Schema, err)
	}
	return err
}
