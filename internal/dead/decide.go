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

// Bounds of one transaction of Replay and Drop. One event comes however large it is.
const (
	deadBatch      = 1000
	deadBatchBytes = 8 << 20 // of payload
)

// Actions of outbox.decision.
const (
	replayed = "replayed"
	dropped  = "dropped"
)

// Work says which dead events a decision is about.
type Work struct {
	Filter   Filter
	Limit    int           // this many at most; 0: all
	Places   []Source      // worked through one after the other
	Progress func(Outcome) // if set, called after each transaction with what was done so far
}

// Outcome is what became of dead events.
type Outcome struct {
	Done    int       // replayed, or dropped
	Already int       // decided about before, for example by a run that was killed
	Failed  []Failure // left as they were
}

// Failure is an event that nothing could be decided about, and why.
type Failure struct {
	Event
	Err error
}

// Replay puts a copy of each dead event into the outbox, as a new row whose ResendOf is the event, and records that in
// the same transaction: a run that is killed anywhere and started again replays none twice and loses none. The copies of
// a place come in the order of their numbers. An event that cannot be inserted again is left, and told in the outcome. After
// an error the outcome says what was done before it.
func (s *Store) Replay(ctx context.Context, db outbox.Beginner, w Work) (Outcome, error) {
	out, err := s.decideDead(ctx, db, &w, replayed)
	if err != nil {
		return out, fmt.Errorf("replay dead events: %w", err)
	}
	return out, nil
}

// Drop records that dead events are given up. A parked one keeps its rows, a letter is deleted from its stream.
func (s *Store) Drop(ctx context.Context, db outbox.Beginner, w Work) (Outcome, error) {
	out, err := s.decideDead(ctx, db, &w, dropped)
	if err != nil {
		return out, fmt.Errorf("drop dead events: %w", err)
	}
	return out, nil
}

func (s *Store) decideDead(ctx context.Context, db outbox.Beginner, w *Work, action string) (Outcome, error) {
	d := &decider{s: s, db: db, action: action}
	taken := 0
	for _, place := range w.Places {
		d.place = place
		for after := int64(0); w.Limit == 0 || taken < w.Limit; {
			most := deadBatch
			if w.Limit > 0 {
				most = min(most, w.Limit-taken)
			}
			batch, err := nextDead(ctx, place, &w.Filter, after, most)
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

// nextDead takes at most so many events as one transaction may hold.
func nextDead(ctx context.Context, place Source, f *Filter, after int64, most int) (batch []Event, err error) {
	bytes := 0
	for d, err := range place.Scan(ctx, f, after) {
		if err != nil {
			return nil, err
		}
		batch = append(batch, d)
		if bytes += d.Size; len(batch) == most || bytes >= deadBatchBytes {
			break
		}
	}
	return batch, nil
}

// A decider works through one batch of one place after the other.
type decider struct {
	s      *Store
	db     outbox.Beginner
	place  Source
	action string
	out    Outcome
}

// step decides about one batch: what somebody has decided about before is only forgotten, the others are loaded, recorded
// and copied in one transaction, and forgotten after it.
func (d *decider) step(ctx context.Context, batch []Event) error {
	open, err := d.sift(ctx, batch)
	if err != nil {
		return err
	}
	if d.action == replayed && len(open) > 0 {
		if err := d.s.Load(ctx, d.db, d.place, open); err != nil {
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
	if err := d.place.Forget(ctx, won); err != nil {
		return err
	}
	_, err = d.sift(ctx, lost)
	return err
}

// fail notes an event that is left as it is, if there is a reason.
func (d *decider) fail(e *Event, err error) bool {
	if err != nil {
		failed := *e
		failed.Payload, failed.Headers = nil, nil // there may be many
		d.out.Failed = append(d.out.Failed, Failure{Event: failed, Err: err})
	}
	return err != nil
}

// commit records the decision and inserts the copies, in one transaction: won are the events that nobody else had decided
// about.
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
		rows, err := tx.Query(ctx, d.s.q.DeadDecide, batch[0].Source, numbers(batch), d.action, copies)
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

// commitEach gives each event a transaction of its own, after the database refused one of them.
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

// dataError says that the database refused what an event is, and not that it could not be asked.
func dataError(err error) bool {
	return sqlstate.BadData(err) || errors.Is(err, event.ErrInvalid)
}

// copyEvent is the event that is inserted again.
func (d *Event) copyEvent() event.Event {
	id := d.Copy
	if id == uuid.Nil {
		id = uuid.New()
	}
	return event.Event{
		ID: id, Subject: d.Subject, Key: d.Key, Payload: d.Payload, ContentType: d.ContentType, Headers: d.Headers, ResendOf: d.ID,
	}
}
