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

// Planned is an event that has its position.
type Planned struct {
	event.Event
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

// loadHint is for how many events room is made at once.
const loadHint = 64

// Cursor is how far the plan goes.
type Cursor struct {
	LastPosition int64     // 0 before the first batch
	Head         int64     // the highest row id that has a position
	Relay        string    // who planned it
	PlannedAt    time.Time // when
}

// Cursor reads the cursor.
func (t *Table) Cursor(ctx context.Context, db outbox.DB) (Cursor, error) {
	var c Cursor
	err := db.QueryRow(ctx, t.q.Cursor).Scan(&c.LastPosition, &c.Head, &c.Relay, &c.PlannedAt)
	if err != nil {
		return Cursor{}, fmt.Errorf("read the cursor: %w", t.Migrated(err))
	}
	return c, nil
}

// Load reads planned events from a position on, in position order. Events with the same headers share one map of them. Fewer than page.Events does not mean that there
// are no more: ask again from the position after the last. Parked ones come with their reason.
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

// scanPlanned reads the columns that plan.sql and load.sql share; load.sql adds why it is parked and whether it comes
// again, and says each position where plan.sql says the first (see number). hint is how many rows may come. What follows them is the same in every
// row, and read into once. What it scans into is made once, and texts are cut out of chunks. Events of one page with the same headers share one map.
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
		clear(into[len(into)-len(once):]) // skipped from now on
		p.Subject, p.Key, p.Payload = cut.String(subject), cut.String(key), cut.Bytes(payload)
		p.ContentType, p.Parked, p.ResendOf = event.DefaultContentType, cut.String(reason), uuid.UUID(original.Bytes)
		if string(kind) != event.DefaultContentType {
			p.ContentType = cut.String(kind)
		}
		if raw != nil {
			p.Headers, p.Malformed = known.decode(raw) // one row must not stop the others
		}
		out = append(out, p)
	}
	// Closed first: a deferred error of the commit comes after the last row.
	rows.Close()
	return out, rows.Err()
}

// headerCache decodes headers once, as long as there are few different ones: those of a capture trigger are three.
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
