package outbox

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// Insert writes events into the outbox inside the caller's transaction, in the order given, with one statement
// however many they are, and returns their ids. tx is a pgx.Tx (so *pgxpool.Tx and sqlc's), a *sql.Tx, or what embeds
// one (sqlx, bun, ent); anything else is ErrNoTransaction. An event that breaks a rule is ErrInvalid before
// anything is sent. After any other error the transaction is aborted, as after every failed statement.
//
// Write an event after the change it describes: the row lock then makes its place among the events of the same key
// the order of the commits.
func (t *Table) Insert(ctx context.Context, tx any, events ...Event) ([]uuid.UUID, error) {
	if err := asTx(tx); err != nil {
		return nil, fmt.Errorf("insert events: %w", err)
	}
	return t.insert(ctx, tx, events)
}

// InsertOutsideTx writes events that belong to no other change, atomically by themselves. db is a *pgxpool.Pool,
// a *pgx.Conn, a *sql.DB or a *sql.Conn. Its name is long on purpose: an event beside a change wants Insert.
func (t *Table) InsertOutsideTx(ctx context.Context, db any, events ...Event) ([]uuid.UUID, error) {
	return t.insert(ctx, db, events)
}

func (t *Table) insert(ctx context.Context, db any, events []Event) ([]uuid.UUID, error) {
	if len(events) == 0 {
		return nil, nil
	}
	c, err := newColumns(events)
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", err)
	}
	switch db := db.(type) {
	case pgxExecer:
		_, err = db.Exec(ctx, t.q.Insert, c.eventIDs, c.subjects, c.keys, c.payloads, c.contentTypes, c.headers, c.originals)
	case sqlExecer: // every driver takes an array as its literal
		_, err = db.ExecContext(ctx, t.q.Insert, literal(c.eventIDs), literal(c.subjects), literal(c.keys),
			byteaLiteral(c.payloads), literal(c.contentTypes), literal(c.headers), literal(c.originals))
	default:
		err = fmt.Errorf("%T can neither Exec like pgx nor ExecContext like database/sql", db)
	}
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", t.migrated(err))
	}
	return c.ids, nil
}

// columns are the events turned on their side, as the statement takes them.
type columns struct {
	ids                                                        []uuid.UUID
	eventIDs, subjects, keys, contentTypes, headers, originals []string
	payloads                                                   [][]byte
}

func newColumns(events []Event) (*columns, error) {
	n := len(events)
	texts := make([]string, 6*n)
	c := &columns{
		ids: make([]uuid.UUID, n), payloads: make([][]byte, n),
		eventIDs: texts[:n], subjects: texts[n : 2*n], keys: texts[2*n : 3*n],
		contentTypes: texts[3*n : 4*n], headers: texts[4*n : 5*n], originals: texts[5*n:],
	}
	for i := range events {
		e := &events[i]
		if err := e.Validate(); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		c.ids[i] = e.ID
		if e.ID == uuid.Nil {
			id, err := uuid.NewRandom()
			if err != nil {
				return nil, fmt.Errorf("make an event id: %w", err)
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
				return nil, fmt.Errorf("event %d: encode headers: %w", i, err)
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

// literal is the text form of a PostgreSQL array of texts.
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

// byteaLiteral is the text form of a PostgreSQL array of bytea in hex.
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
