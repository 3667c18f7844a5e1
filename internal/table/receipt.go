package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// ErrBaseTaken means that another relay appended a base first.
var ErrBaseTaken = errors.New("another relay set the base first")

// Stream identifies a JetStream stream. One that was deleted and created again is another stream.
type Stream struct {
	Name    string
	Created time.Time
}

// Base relates positions to the sequences of a stream: from position From on, sequence = position + Base.
type Base struct {
	N      int64 // number in the log, from 1
	Stream Stream
	From   int64
	Base   int64
}

// Bases reads the log of bases, oldest first.
func (t *Table) Bases(ctx context.Context, db outbox.DB) ([]Base, error) {
	rows, err := db.Query(ctx, t.q.Bases)
	if err != nil {
		return nil, fmt.Errorf("read bases: %w", err)
	}
	bases, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b Base, err error) {
		return b, row.Scan(&b.N, &b.Stream.Name, &b.Stream.Created, &b.From, &b.Base)
	})
	if err != nil {
		return nil, fmt.Errorf("read bases: %w", err)
	}
	return bases, nil
}

// AppendBase appends a base to the log. b.N must be one more than that of the last base that the caller has read.
// AppendBase returns ErrBaseTaken if the log has that number already.
func (t *Table) AppendBase(ctx context.Context, db outbox.DB, b Base, reason, relay string) error {
	_, err := db.Exec(ctx, t.q.BaseInsert, b.N, b.Stream.Name, b.Stream.Created, b.From, b.Base, reason, relay)
	if sqlstate.Is(err, sqlstate.UniqueViolation) {
		return fmt.Errorf("append base: %w", ErrBaseTaken)
	}
	if err != nil {
		return fmt.Errorf("append base: %w", err)
	}
	return nil
}

// Receipt is evidence that the stream acknowledged everything up to Position, which it has at Sequence.
type Receipt struct {
	Stream   Stream
	Position int64
	Sequence uint64
	AckedAt  time.Time
}

// AppendReceipt appends a receipt. The database sets its time; r.AckedAt is ignored.
func (t *Table) AppendReceipt(ctx context.Context, db outbox.DB, r Receipt, relay string) error {
	if _, err := db.Exec(ctx, t.q.ReceiptInsert, r.Stream.Name, r.Stream.Created, r.Position, int64(r.Sequence), relay); err != nil {
		return fmt.Errorf("append receipt: %w", err)
	}
	return nil
}

// LastReceipt reads the newest receipt of a stream, by name. It returns a zero Receipt if there is none.
func (t *Table) LastReceipt(ctx context.Context, db outbox.DB, stream string) (Receipt, error) {
	r := Receipt{Stream: Stream{Name: stream}}
	var sequence int64
	err := db.QueryRow(ctx, t.q.ReceiptLast, stream).Scan(&r.Stream.Created, &r.Position, &sequence, &r.AckedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return Receipt{}, nil
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("read the last receipt: %w", err)
	}
	r.Sequence = uint64(sequence)
	return r, nil
}
