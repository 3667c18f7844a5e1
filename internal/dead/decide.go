package dead

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Limits of one transaction of Replay and Drop. It takes at least one event, however large.
const (
	batchEvents = 1000
	batchBytes  = 8 << 20 // of payload
)

// Decisions, as outbox.decision stores them.
const (
	replayed = "replayed"
	dropped  = "dropped"
)

// Work selects the dead events of a decision.
type Work struct {
	Filter   Filter
	Limit    int           // at most so many events; 0 for all
	Sources  []Source      // processed one after the other
	Progress func(Outcome) // if set, called after each transaction with the outcome so far
}

// Outcome is the result of Replay or Drop.
type Outcome struct {
	Done    int       // events replayed or dropped
	Already int       // events decided before, for example by a run that was killed
	Failed  []Failure // events that remain as they are
}

// Failure is an event that could not be replayed or dropped, and why.
type Failure struct {
	Event
	Err error
}

// Replay inserts a copy of each selected event, a new row whose ResendOf is the id of the event, and records the
// decision in the same transaction. The copies of a source have the order of their numbers. The outcome lists events
// that cannot be inserted again. It is valid along with an error: it covers what was done before.
func (s *Store) Replay(ctx context.Context, db outbox.Beginner, w Work) (Outcome, error) {
	out, err := s.decide(ctx, db, &w, replayed)
	if err != nil {
		return out, fmt.Errorf("replay dead events: %w", err)
	}
	return out, nil
}

// Drop records that the selected events are given up. It deletes dead letters from their stream; the rows of a parked
// event remain. The outcome is valid along with an error.
func (s *Store) Drop(ctx context.Context, db outbox.Beginner, w Work) (Outcome, error) {
	out, err := s.decide(ctx, db, &w, dropped)
	if err != nil {
		return out, fmt.Errorf("drop dead events: %w", err)
	}
	return out, nil
}

func (s *Store) decide(ctx context.Context, db outbox.Beginner, w *Work, action string) (Outcome, error) {
	d := &decider{s: s, db: db, action: action}
	taken := 0
	for _, source := range w.Sources {
		d.source = source
		for after := int64(0); w.Limit == 0 || taken < w.Limit; {
			most := batchEvents
			if w.Limit > 0 {
				most = min(most, w.Limit-taken)
			}
			batch, err := nextBatch(ctx, source, &w.Filter, after, most)
			if err != nil {
				return d.out, err
			}
			if len(batch) == 0 {
				break
			}
			taken, after = taken+len(batch), batch[len(batch)-1].Number
			if err := d.step(ctx, batch); err != nil {
				return d.out, err
			}
			if w.Progress != nil {
				w.Progress(d.out)
			}
		}
	}
	return d.out, nil
}

// nextBatch returns at most as many events as one transaction takes.
func nextBatch(ctx context.Context, source Source, f *Filter, after int64, most int) (batch []Event, err error) {
	bytes := 0
	for d, err := range source.Scan(ctx, f, after) {
		if err != nil {
			return nil, err
		}
		batch = append(batch, d)
		if bytes += d.Size; len(batch) == most || bytes >= batchBytes {
			break
		}
	}
	return batch, nil
}

// A decider processes one batch of one source after the other.
type decider struct {
	s      *Store
	db     outbox.Beginner
	source Source
	action string
	out    Outcome
}

// step decides one batch. It only forgets events that were decided before. It loads the others, records the decision
// and inserts the copies in one transaction, and then forgets them.
func (d *decider) step(ctx context.Context, batch []Event) error {
	open, err := d.sift(ctx, batch)
	if err != nil {
		return err
	}
	if d.action == replayed && len(open) > 0 {
		if err := d.s.Load(ctx, d.db, d.source, open); err != nil {
			return err
		}
		open = slices.DeleteFunc(open, func(e Event) bool { return d.fail(&e, e.Flaw) })
	}
	won, lost, err := d.commit(ctx, open)
	if dataError(err) {
		won, lost, err = d.commitEach(ctx, open)
	}
	d.out.Done += len(won)
	if err != nil {
		return err
	}
	if err := d.source.Forget(ctx, won); err != nil {
		return err
	}
	_, err = d.sift(ctx, lost)
	return err
}

// fail adds an event to the failures if err is not nil, and reports whether it did.
func (d *decider) fail(e *Event, err error) bool {
	if err != nil {
		failed := *e
		failed.Payload, failed.Headers = nil, nil // there may be many failures
		d.out.Failed = append(d.out.Failed, Failure{Event: failed, Err: err})
	}
	return err != nil
}

// commit records the decision and inserts the copies, in one transaction. won are the events that had no decision
// yet, lost the others.
func (d *decider) commit(ctx context.Context, batch []Event) (won, lost []Event, err error) {
	if len(batch) == 0 {
		return nil, nil, nil
	}
	copies := make([]string, len(batch))
	events := make([]event.Event, len(batch))
	if d.action == replayed {
		for i := range batch {
			events[i] = batch[i].copyEvent()
			copies[i] = events[i].ID.String()
		}
	}
	err = pgx.BeginFunc(ctx, d.db, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, d.s.q.DeadDecide, batch[0].Origin, numbers(batch), d.action, copies)
		if err != nil {
			return fmt.Errorf("record decisions: %w", err)
		}
		mine, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return fmt.Errorf("record decisions: %w", err)
		}
		slices.Sort(mine)
		var insert []event.Event
		for i := range batch {
			if _, ok := slices.BinarySearch(mine, batch[i].Number); ok {
				won, insert = append(won, batch[i]), append(insert, events[i])
			} else {
				lost = append(lost, batch[i])
			}
		}
		if d.action != replayed {
			return nil
		}
		_, err = d.s.t.Insert(ctx, tx, insert...)
		return err
	})
	if err != nil {
		return nil, nil, d.s.t.Migrated(err)
	}
	return won, lost, nil
}

// commitEach gives each event a transaction of its own, after the database refused a batch.
func (d *decider) commitEach(ctx context.Context, batch []Event) (won, lost []Event, err error) {
	for i := range batch {
		mine, others, err := d.commit(ctx, batch[i:i+1])
		if dataError(err) {
			d.fail(&batch[i], err)
			continue
		}
		if err != nil {
			return won, lost, err
		}
		won, lost = append(won, mine...), append(lost, others...)
	}
	return won, lost, nil
}

// dataError reports whether the database refused the contents of an event.
func dataError(err error) bool {
	return sqlstate.BadData(err) || errors.Is(err, event.ErrInvalid)
}

// copyEvent returns the event to insert.
func (d *Event) copyEvent() event.Event {
	id := d.Copy
	if id == uuid.Nil {
		id = uuid.New()
	}
	return event.Event{
		ID: id, Subject: d.Subject, Key: d.Key, Payload: d.Payload, ContentType: d.ContentType, Headers: d.Headers, ResendOf: d.ID,
	}
}
