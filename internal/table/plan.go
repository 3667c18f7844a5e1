package table

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

	"github.com/seed-6eff6314/outbox-relay/internal/arena"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Planned is an event that has a position.
type Planned struct {
	event.Event
	RowID     int64     // id of the row
	PlannedAt time.Time // when its batch was planned, by the clock of the database
	Parked    string    // the reason, if the event is parked
	Again     bool      // it has an earlier position too, so the stream may have its id already
	Malformed error     // why Headers could not be decoded; the constraints of the table prevent that
}

// Page limits what one call of Plan or Load returns. Both limits must be at least 1. One event is returned however
// large it is.
type Page struct {
	Events int // at most
	Bytes  int // of payload; the event that exceeds it is the last
}

// loadHint is the initial capacity of a page, in events.
const loadHint = 64

// Cursor is the end of the plan.
type Cursor struct {
	LastPosition int64     // 0 before the first batch
	Head         int64     // the highest row id that has a position
	Relay        string    // that planned last
	PlannedAt    time.Time // when
}

// Cursor reads the end of the plan.
func (t *Table) Cursor(ctx context.Context, db outbox.DB) (Cursor, error) {
	var c Cursor
	err := db.QueryRow(ctx, t.q.Cursor).Scan(&c.LastPosition, &c.Head, &c.Relay, &c.PlannedAt)
	if err != nil {
		return Cursor{}, fmt.Errorf("read the cursor: %w", t.Migrated(err))
	}
	return c, nil
}

// Load reads planned events from a position on, in the order of positions, parked ones included. Events with the same
// headers share one map. Fewer events than page.Events do not mean that there are no more: the caller continues at
// the position after the last one, until none is returned.
func (t *Table) Load(ctx context.Context, db outbox.DB, from int64, page Page) ([]Planned, error) {
	rows, err := t.NoJIT(ctx, db, t.q.Load, from, page.Events, page.Bytes)
	if err != nil {
		return nil, fmt.Errorf("load planned events from position %d: %w", from, err)
	}
	events, err := scanPlanned(rows, true, min(page.Events, loadHint))
	if err != nil {
		return nil, fmt.Errorf("load planned events from position %d: %w", from, err)
	}
	return events, nil
}

// scanPlanned reads the columns that plan.sql and load.sql share. load.sql adds two: the reason of a parked event,
// and whether the event has an earlier position. In load.sql the first column is the position of the row, in plan.sql
// that of the first row: see number. hint is the number of rows expected. Columns after these are the same in every
// row; they are scanned into once, from the first row.
//
// To save allocations it scans every row into the same variables, cuts texts out of chunks, and lets events with the
// same headers share one map.
func scanPlanned(rows pgx.Rows, parked bool, hint int, once ...any) ([]Planned, error) {
	defer rows.Close()
	var (
		p                               Planned
		subject, key, kind, raw, reason pgtype.DriverBytes
		payload                         pgtype.DriverBytes
		original                        pgtype.UUID
		cut                             arena.Arena
		known                           headerCache
	)
	into := []any{&p.Position, &p.RowID, (*[16]byte)(&p.ID), &subject, &key, &payload, &kind, &raw,
		&original, &p.CreatedAt, &p.PlannedAt, &reason, &p.Again}
	if !parked {
		into = into[:len(into)-2]
	}
	into = append(into, once...)
	out := make([]Planned, 0, hint)
	for rows.Next() {
		p = Planned{}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		clear(into[len(into)-len(once):]) // Scan skips a nil destination
		p.Subject, p.Key, p.Payload = cut.String(subject), cut.String(key), cut.Bytes(payload)
		p.ContentType, p.Parked, p.ResendOf = event.DefaultContentType, cut.String(reason), uuid.UUID(original.Bytes)
		if string(kind) != event.DefaultContentType {
			p.ContentType = cut.String(kind)
		}
		if raw != nil {
			p.Headers, p.Malformed = known.decode(raw) // a malformed row must not stop the others
		}
		out = append(out, p)
	}
	// Close first: the error of a commit follows the last row.
	rows.Close()
	return out, rows.Err()
}

// headerCache decodes equal headers once. It holds up to 16 different ones; capture triggers produce three.
type headerCache map[string]map[string]string

func (c *headerCache) decode(raw []byte) (map[string]string, error) {
	const most = 16
	if known, ok := (*c)[string(raw)]; ok {
		return known, nil
	}
	var headers map[string]string
	if err := json.Unmarshal(raw, &headers); err != nil {
		return nil, fmt.Errorf("decode headers: %w", err)
	}
	if *c == nil {
		*c = make(headerCache)
	}
	if len(*c) < most {
		(*c)[string(raw)] = headers
	}
	return headers, nil
}

// number gives the events of a plan their positions: consecutive, in the order of ids.
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
