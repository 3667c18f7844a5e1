package dead

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Parked is the Source of the parked events that nobody has decided about. Safe for concurrent use if its database is.
type Parked struct {
	s    *Store
	db   outbox.DB
	last int64
}

var errRowGone = errors.New("retention has dropped its row in outbox.event")

// OpenParked opens the source of the events that are parked now.
func (s *Store) OpenParked(ctx context.Context, db outbox.DB) (*Parked, error) {
	p := &Parked{s: s, db: db}
	if err := db.QueryRow(ctx, s.q.DeadLast).Scan(&p.last); err != nil {
		return nil, fmt.Errorf("read parked events: %w", s.t.Migrated(err))
	}
	return p, nil
}

// Scan implements Source.
func (p *Parked) Scan(ctx context.Context, f *Filter, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			page, err := p.page(ctx, f, after)
			if err != nil {
				yield(Event{}, fmt.Errorf("list parked events: %w", err))
				return
			}
			for i := range page {
				if !page[i].decided && !yield(page[i].Event, nil) {
					return
				}
			}
			if len(page) < batchEvents {
				return
			}
			after = page[len(page)-1].Number
		}
	}
}

// parkedRow is a parked event, and whether it was decided.
type parkedRow struct {
	Event
	decided bool
}

func (p *Parked) page(ctx context.Context, f *Filter, after int64) ([]parkedRow, error) {
	var subject string
	if f.Subject != nil {
		subject = f.Subject.String()
	}
	id := pgtype.UUID{Bytes: f.EventID, Valid: f.EventID != uuid.Nil}
	rows, err := p.db.Query(ctx, p.s.q.DeadParked, after, p.last, f.Number, id, f.Reason, subject, orAnyTime(f.From), orAnyTime(f.Until), batchEvents)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (parkedRow, error) {
		d := parkedRow{Event: Event{Source: SourceParked, Origin: SourceParked}}
		err := row.Scan(&d.Number, (*[16]byte)(&d.ID), &d.Subject, &d.Key, &d.Reason, &d.Detail, &d.By, &d.Since, &d.Size, &d.decided)
		d.Position = d.Number
		return d, err
	})
}

func orAnyTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Load implements Source. The parked row has nothing of the event, so every event has a Flaw unless Store.Load finds
// its row.
func (p *Parked) Load(_ context.Context, dead []Event) error {
	for i := range dead {
		dead[i].Flaw = errRowGone
	}
	return nil
}

// Forget implements Source. Parked rows are never deleted.
func (p *Parked) Forget(context.Context, []Event) error { return nil }

// Load sets the payload, the headers and the Flaw of dead events of one source: from the row of the event if the
// table still has it, and from the source otherwise.
func (s *Store) Load(ctx context.Context, db outbox.DB, source Source, dead []Event) error {
	if err := source.Load(ctx, dead); err != nil {
		return err
	}
	var positions []int64
	for i := range dead {
		if dead[i].Position > 0 && dead[i].ID != uuid.Nil {
			positions = append(positions, dead[i].Position)
		}
	}
	found, err := s.rows(ctx, db, positions)
	if err != nil {
		return fmt.Errorf("load dead events: %w", s.t.Migrated(err))
	}
	for i := range dead {
		d := &dead[i]
		if row, ok := found[d.Position]; ok && row.ID == d.ID {
			d.Event, d.Flaw = row.Event, row.Flaw
		}
		if d.Flaw == nil {
			d.Flaw = d.Validate()
		}
	}
	return nil
}

// rows reads the rows at positions. Headers that cannot be decoded are a Flaw.
func (s *Store) rows(ctx context.Context, db outbox.DB, positions []int64) (map[int64]Event, error) {
	rows, err := db.Query(ctx, s.q.DeadRows, positions)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(map[int64]Event, len(positions))
	for rows.Next() {
		var (
			d        Event
			headers  []byte
			original pgtype.UUID
		)
		err := rows.Scan(&d.Position, (*[16]byte)(&d.ID), &d.Subject, &d.Key, &d.Payload, &d.ContentType, &headers, &original, &d.CreatedAt)
		if err != nil {
			return nil, err
		}
		d.ResendOf = original.Bytes
		if headers != nil {
			if err := json.Unmarshal(headers, &d.Headers); err != nil {
				d.Flaw = fmt.Errorf("%w: decode headers: %w", event.ErrInvalid, err)
			}
		}
		found[d.Position] = d
	}
	rows.Close()
	return found, rows.Err()
}
