// Package verify is the one judge of every scenario: it holds the whole stream against the whole table and the plan.
package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Verdict is what came of it. All but the first four are faults, and Foreign is one unless others write to the stream.
type Verdict struct {
	Committed int64 // rows of the table
	Published int64 // of these, in the stream
	Parked    int64 // of these, set aside: a marker stands in their place
	Again     int64 // events at a later position than their first, because the stream did not keep that

	Unplanned int64 // rows without a position
	Gaps      int64 // positions without a row
	Lost      int64 // rows neither published nor parked
	Twice     int64 // messages whose event the stream had already
	Misplaced int64 // messages at a position that the plan gave to another event
	Reordered int64 // messages behind a later position, or behind a later event of their key; again does not count
	Foreign   int64 // messages of no row: of a transaction that was rolled back, or of others
}

// Err says which promises are broken, if any is.
func (v Verdict) Err() error {
	if v.Unplanned+v.Gaps+v.Lost+v.Twice+v.Misplaced+v.Reordered+v.Foreign != 0 || v.Published+v.Parked != v.Committed {
		return fmt.Errorf("stream against table: %+v", v)
	}
	return nil
}

// Stream says what to verify, and how.
type Stream struct {
	Table *table.Table
	Pool  *pgxpool.Pool
	Conn  *nats.Conn
	Name  string
	// Seen, if set, is called for each event found for the first time, with when it was committed, or where the
	// server does not keep that, inserted, and when the stream stored it.
	Seen func(e *event.Event, committed, stored time.Time)
}

// row is what the table has of an event.
type row struct {
	id        int64
	key       string
	committed time.Time
	parked    bool
	seen      bool
}

// judge holds messages, in the order of the stream, against rows. It needs about 200 bytes for each event.
type judge struct {
	rows     map[uuid.UUID]*row
	plan     []int64 // row id by position
	again    []bool  // by position
	position int64   // the highest so far
	last     map[string]int64
	verdict  Verdict
}

// Verify reads everything: the table, the plan, and the headers of the stream.
func (s *Stream) Verify(ctx context.Context) (Verdict, error) {
	j := &judge{rows: make(map[uuid.UUID]*row), last: make(map[string]int64)}
	if err := s.readTable(ctx, j); err != nil {
		return Verdict{}, fmt.Errorf("verify: read table: %w", err)
	}
	if err := s.readPlan(ctx, j); err != nil {
		return Verdict{}, fmt.Errorf("verify: read plan: %w", err)
	}
	err := s.Read(ctx, func(msg jetstream.Msg) error {
		e, err := event.Parse(msg.Subject(), msg.Headers(), nil)
		if err != nil {
			e = event.Event{} // then it is not one of ours
		}
		r := j.message(&e, msg.Headers().Get(event.HeaderParked) != "")
		meta, err := msg.Metadata()
		if err == nil && s.Seen != nil && r != nil {
			s.Seen(&e, r.committed, meta.Timestamp)
		}
		return err
	})
	if err != nil {
		return Verdict{}, fmt.Errorf("verify: read stream: %w", err)
	}
	for _, r := range j.rows {
		switch {
		case r.seen:
		case r.parked:
			j.verdict.Parked++
		default:
			j.verdict.Lost++
		}
	}
	return j.verdict, nil
}

// message takes the next message. It returns the row of an event that was not there before, otherwise nil.
func (j *judge) message(e *event.Event, marker bool) *row {
	r, ok := j.rows[e.ID]
	if !ok || e.Position == 0 {
		j.verdict.Foreign++
		return nil
	}
	again := false
	if p := e.Position; p >= int64(len(j.plan)) || j.plan[p] != r.id {
		j.verdict.Misplaced++
	} else {
		again = j.again[p]
	}
	late := e.Position <= j.position
	j.position = max(j.position, e.Position)
	switch {
	case marker:
		return nil
	case r.seen:
		j.verdict.Twice++
		return nil
	}
	r.seen = true
	j.verdict.Published++
	switch {
	case again:
		j.verdict.Again++
	case late || r.id < j.last[r.key]:
		j.verdict.Reordered++
	}
	j.last[r.key] = max(j.last[r.key], r.id)
	return r
}

// Commit times are asked for only where the server keeps them: the function is an error elsewhere.
const rowsQuery = `
SELECT e.id, e.event_id, coalesce(e.key, e.subject),
       coalesce(CASE WHEN current_setting('track_commit_timestamp')::boolean THEN pg_xact_commit_timestamp(e.xid::text::xid) END, e.created_at),
       EXISTS (SELECT FROM outbox.parked p WHERE p.event_id = e.event_id AND p.reason <> 'displaced')
  FROM outbox.event e`

func (s *Stream) readTable(ctx context.Context, j *judge) error {
	rows, err := s.Pool.Query(ctx, s.Table.SQL(rowsQuery))
	if err != nil {
		return err
	}
	var id uuid.UUID
	var r row
	_, err = pgx.ForEachRow(rows, []any{&r.id, &id, &r.key, &r.committed, &r.parked}, func() error {
		one := r
		j.rows[id] = &one
		return nil
	})
	j.verdict.Committed = int64(len(j.rows))
	return err
}

const planQuery = `
SELECT b.first_position, b.last_position, b.again, e.id
  FROM outbox.batch b CROSS JOIN LATERAL unnest(b.ids) AS run
 CROSS JOIN LATERAL (SELECT id FROM outbox.event WHERE id >= lower(run) AND id < upper(run)) AS e
 ORDER BY b.first_position, e.id`

func (s *Stream) readPlan(ctx context.Context, j *judge) error {
	rows, err := s.Pool.Query(ctx, s.Table.SQL(planQuery))
	if err != nil {
		return err
	}
	j.plan, j.again = []int64{0}, []bool{false} // positions begin at 1
	planned := make(map[int64]bool, len(j.rows))
	var first, last, id int64
	var again bool
	_, err = pgx.ForEachRow(rows, []any{&first, &last, &again, &id}, func() error {
		position := int64(len(j.plan))
		if position < first || position > last || planned[id] && !again {
			j.verdict.Gaps++
		}
		planned[id] = true
		j.plan, j.again = append(j.plan, id), append(j.again, again)
		return nil
	})
	j.verdict.Unplanned = j.verdict.Committed - int64(len(planned))
	return err
}

// Read hands every message of the stream, headers only, in order, to f.
func (s *Stream) Read(ctx context.Context, f func(jetstream.Msg) error) error {
	const page, patience = 4096, 3 // messages, and tries of 2 s that bring none
	js, err := jetstream.New(s.Conn)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, s.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return err
	}
	state, empty := stream.CachedInfo().State, 0
	for left, at := state.Msgs, uint64(0); left > 0 && at < state.LastSeq; {
		batch, err := consumer.Fetch(int(min(left, page)), jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			return err
		}
		before := left
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			if err == nil {
				left, at = left-1, meta.Sequence.Stream
				err = f(msg)
			}
			if err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil {
			return err
		}
		if empty++; left < before {
			empty = 0
		}
		if empty == patience {
			return nil // damaged messages are counted and do not come: their events are missing
		}
	}
	return nil
}
