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

// ErrBaseTaken says that another relay appended to the log of bases first.
var ErrBaseTaken = errors.New("another relay set the base first")

// Stream is one JetStream stream: deleted and made again it is another one.
type Stream struct {
	Name    string
	Created time.Time
}

// Base says where positions lie in a stream: sequence = position + Base, from From on.
type Base struct {
	N      int64 // place in the log
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

// AppendBase appends to the log of bases; b.N is one more than the last that the caller has read. ErrBaseTaken
// means that there is a newer one.
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

// Receipt is evidence: everything up to Position was acknowledged, the last of it at Sequence.
type Receipt struct {
	Stream   Stream
	Position int64
	Sequence uint64
	AckedAt  time.Time
}

// AppendReceipt records a receipt; AckedAt is set by the database.
func (t *Table) AppendReceipt(ctx context.Context, db outbox.DB, r Receipt, relay string) error {
	if _, err := db.Exec(ctx, t.q.ReceiptInsert, r.Stream.Name, r.Stream.Created, r.Position, int64(r.Sequence), relay); err != nil {
		return fmt.Errorf("append receipt: %w", err)
	}
	return nil
}

// LastReceipt reads the newest receipt of a stream by name; a zero Receipt when there is none.
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
