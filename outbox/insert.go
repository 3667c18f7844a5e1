package outbox

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Insert writes events into the outbox in the caller's transaction, with one statement for all of them, and returns
// their ids in the order given. It returns ErrInvalid, before it sends anything, if an event breaks a rule; after any
// other error the transaction is aborted, as after every failed statement.
//
// Insert an event after the change that it describes. The change's row lock then makes the order of events of one key
// the order of the commits.
func (t *Table) Insert(ctx context.Context, tx pgx.Tx, events ...Event) ([]uuid.UUID, error) {
	c, err := newColumns(events)
	if c == nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, t.q.Insert, c.eventIDs, c.subjects, c.keys, c.payloads, c.contentTypes, c.headers, c.originals)
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", t.migrated(err))
	}
	return c.ids, nil
}

// InsertSQL is Insert for database/sql, with any driver for PostgreSQL.
//
// It takes a *sql.Tx, not an interface, so that the transaction type of a library that rewrites the placeholders of a
// statement ($1), as bun's does, fails to compile instead of failing at run time. The libraries give access to theirs:
// sqlx and bun embed it as tx.Tx, gorm has it in tx.Statement.ConnPool.(*sql.Tx), and ent can run on one.
func (t *Table) InsertSQL(ctx context.Context, tx *sql.Tx, events ...Event) ([]uuid.UUID, error) {
	c, err := newColumns(events)
	if c == nil {
		return nil, err
	}
	// Drivers differ in how they take arrays; all of them take the text of one.
	_, err = tx.ExecContext(ctx, t.q.Insert, literal(c.eventIDs), literal(c.subjects), literal(c.keys),
		byteaLiteral(c.payloads), literal(c.contentTypes), literal(c.headers), literal(c.originals))
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", t.migrated(err))
	}
	return c.ids, nil
}

// columns holds the events column by column, as arrays for the statement.
type columns struct {
	ids                                                        []uuid.UUID
	eventIDs, subjects, keys, contentTypes, headers, originals []string
	payloads                                                   [][]byte
}

// newColumns validates events and generates missing ids. It returns nil without an error if there are no events.
func newColumns(events []Event) (*columns, error) {
	n := len(events)
	if n == 0 {
		return nil, nil
	}
	texts := make([]string, 6*n)
	c := &columns{
		ids: make([]uuid.UUID, n), payloads: make([][]byte, n),
		eventIDs: texts[:n], subjects: texts[n : 2*n], keys: texts[2*n : 3*n],
		contentTypes: texts[3*n : 4*n], headers: texts[4*n : 5*n], originals: texts[5*n:],
	}
	for i := range events {
		e := &events[i]
		if err := e.Validate(); err != nil {
			return nil, fmt.Errorf("insert events: event %d: %w", i, err)
		}
		c.ids[i] = e.ID
		if e.ID == uuid.Nil {
			id, err := uuid.NewRandom()
			if err != nil {
				return nil, fmt.Errorf("insert events: generate an event id: %w", err)
			}
			c.ids[i] = id
		}
		c.eventIDs[i], c.subjects[i], c.keys[i], c.contentTypes[i] = c.ids[i].String(), e.Subject, e.Key, e.ContentType
		if e.ContentType == "" {
			c.contentTypes[i] = DefaultContentType
		}
		if c.payloads[i] = e.Payload; e.Payload == nil {
			c.payloads[i] = []byte{}
		}
		if len(e.Headers) > 0 {
			headers, err := json.Marshal(e.Headers)
			if err != nil {
				return nil, fmt.Errorf("insert events: event %d: encode headers: %w", i, err)
			}
			c.headers[i] = string(headers)
		}
		if e.ResendOf != uuid.Nil {
			c.originals[i] = e.ResendOf.String()
		}
	}
	return c, nil
}

var literalEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// literal returns an array of texts as PostgreSQL writes it.
func literal(values []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		literalEscape.WriteString(&b, v) //nolint:errcheck // a Builder never fails
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// byteaLiteral returns an array of bytea as PostgreSQL writes it, in hex.
func byteaLiteral(values [][]byte) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, v := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"\\x`)
		b.WriteString(hex.EncodeToString(v))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}
