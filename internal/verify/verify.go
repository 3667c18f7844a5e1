// Package verify compares a whole stream with the whole outbox table and the plan. Every test and fault scenario uses it for
// its verdict.
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

// A Verdict counts what a comparison found. All fields after the first four count faults; Foreign does so unless others write
// to the stream.
type Verdict struct {
	Committed int64 // rows in the table
	Published int64 // rows whose event is in the stream
	Parked    int64 // rows whose event is parked; a marker has its position
	Again     int64 // events published again at a later position, because the stream lost the first message

	Unplanned int64 // rows without a position
	Gaps      int64 // positions without a row
	Lost      int64 // rows whose event is neither published nor parked
	Twice     int64 // messages whose event was already in the stream
	Misplaced int64 // messages at a position that the plan assigns to another event
	Reordered int64 // messages after a later position or after a later event of their key; those in Again do not count
	Foreign   int64 // messages without a row: of a transaction that was rolled back, or of another writer
}

// Err returns an error if the verdict counts any fault.
func (v Verdict) Err() error {
	if v.Unplanned+v.Gaps+v.Lost+v.Twice+v.Misplaced+v.Reordered+v.Foreign != 0 || v.Published+v.Parked != v.Committed {
		return fmt.Errorf("the stream differs from the table: %+v", v)
	}
	return nil
}

// A Stream is a stream to verify and the table that it is compared with.
type Stream struct {
	Table *table.Table
	Pool  *pgxpool.Pool
	Conn  *nats.Conn
	Name  string
	// Seen, if set, is called once for each event found in the stream, with the time of its commit and the time when the
	// stream stored it. On a server without track_commit_timestamp the time of the commit is that of the insert.
	Seen func(e *event.Event, committed, stored time.Time)
}

// A row is an event in the table.
type row struct {
	id        int64
	key       string
	committed time.Time
	parked    bool
	seen      bool
}

// A comparison compares messages, in the order of the stream, with rows. It takes about 200 bytes for each row.
type comparison struct {
	rows     map[uuid.UUID]*row
	plan     []int64          // id of a row by position
	again    []bool           // by position
	position int64            // the highest so far
	last     map[string]int64 // the highest id so far by key
	verdict  Verdict
}

// Verify reads the table, the plan and the headers of all messages, and compares them.
func (s *Stream) Verify(ctx context.Context) (Verdict, error) {
	c := &comparison{rows: make(map[uuid.UUID]*row), last: make(map[string]int64)}
	if err := s.readTable(ctx, c); err != nil {
		return Verdict{}, fmt.Errorf("verify: read table: %w", err)
	}
	if err := s.readPlan(ctx, c); err != nil {
		return Verdict{}, fmt.Errorf("verify: read plan: %w", err)
	}
	err := s.Read(ctx, func(msg jetstream.Msg) error {
		e, err := event.Parse(msg.Subject(), msg.Headers(), nil)
		if err != nil {
			e = event.Event{} // not written by a relay: foreign
		}
		r := c.message(&e, msg.Headers().Get(event.HeaderParked) != "")
		meta, err := msg.Metadata()
		if err == nil && s.Seen != nil && r != nil {
			s.Seen(&e, r.committed, meta.Timestamp)
		}
		return err
	})
	if err != nil {
		return Verdict{}, fmt.Errorf("verify: read stream: %w", err)
	}
	for _, r := range c.rows {
		switch {
		case r.seen:
		case r.parked:
			c.verdict.Parked++
		default:
			c.verdict.Lost++
		}
	}
	return c.verdict, nil
}

// message compares the next message. It returns the row of an event that was not found before, otherwise nil.
func (c *comparison) message(e *event.Event, marker bool) *row {
	r, ok := c.rows[e.ID]
	if !ok || e.Position == 0 {
		c.verdict.Foreign++
		return nil
	}
	again := false
	if p := e.Position; p >= int64(len(c.plan)) || c.plan[p] != r.id {
		c.verdict.Misplaced++
	} else {
		again = c.again[p]
	}
	late := e.Position <= c.position
	c.position = max(c.position, e.Position)
	switch {
	case marker:
		return nil
	case r.seen:
		c.verdict.Twice++
		return nil
	}
	r.seen = true
	c.verdict.Published++
	switch {
	case again:
		c.verdict.Again++
	case late || r.id < c.last[r.key]:
		c.verdict.Reordered++
	}
	c.last[r.key] = max(c.last[r.key], r.id)
	return r
}

// rowsQuery calls pg_xact_commit_timestamp only if the server tracks commit times, because the function fails otherwise.
const rowsQuery = `
SELECT e.id, e.event_id, coalesce(e.key, e.subject),
       coalesce(CASE WHEN current_setting('track_commit_timestamp')::boolean THEN pg_xact_commit_timestamp(e.xid::text::xid) END, e.created_at),
       EXISTS (SELECT FROM outbox.parked p WHERE p.event_id = e.event_id AND p.reason <> 'displaced')
  FROM outbox.event e`

func (s *Stream) readTable(ctx context.Context, c *comparison) error {
	rows, err := s.Pool.Query(ctx, s.Table.SQL(rowsQuery))
	if err != nil {
		return err
	}
	var id uuid.UUID
	var r row
	_, err = pgx.ForEachRow(rows, []any{&r.id, &id, &r.key, &r.committed, &r.parked}, func() error {
		one := r
		c.rows[id] = &one
		return nil
	})
	c.verdict.Committed = int64(len(c.rows))
	return err
}

const planQuery = `
SELECT b.first_position, b.last_position, b.resend, e.id
  FROM outbox.batch b CROSS JOIN LATERAL unnest(b.ids) AS run
 CROSS JOIN LATERAL (SELECT id FROM outbox.event WHERE id >= lower(run) AND id < upper(run)) AS e
 ORDER BY b.first_position, e.id`

func (s *Stream) readPlan(ctx context.Context, c *comparison) error {
	rows, err := s.Pool.Query(ctx, s.Table.SQL(planQuery))
	if err != nil {
		return err
	}
	c.plan, c.again = []int64{0}, []bool{false} // positions begin at 1
	planned := make(map[int64]bool, len(c.rows))
	var first, last, id int64
	var again bool
	_, err = pgx.ForEachRow(rows, []any{&first, &last, &again, &id}, func() error {
		position := int64(len(c.plan))
		if position < first || position > last || planned[id] && !again {
			c.verdict.Gaps++
		}
		planned[id] = true
		c.plan, c.again = append(c.plan, id), append(c.again, again)
		return nil
	})
	c.verdict.Unplanned = c.verdict.Committed - int64(len(planned))
	return err
}

// Read calls f with every message of the stream, in order and without its body. A missing stream is like an empty one.
func (s *Stream) Read(ctx context.Context, f func(jetstream.Msg) error) error {
	const page, emptyFetches = 4096, 3 // messages of a fetch; fetches of 2 s without a message before Read gives up
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
		if empty == emptyFetches {
			return nil // the server counts damaged messages but does not deliver them; their events are missing
		}
	}
	return nil
}
