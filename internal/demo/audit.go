package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// A verdict is what came of holding the whole stream against the whole table.
type verdict struct {
	committed  int64 // rows of the table
	published  int64 // of these, in the stream
	lost       int64 // of these, not in the stream
	duplicates int64 // messages that carry an event which the stream had already
	reordered  int64 // events behind a later position, or behind a later event of the same key
	foreign    int64 // messages that are no event of the table: of a transaction that was rolled back, or of others
}

// An audit holds messages, in the order of the stream, against rows. It needs about 200 bytes for each event.
type audit struct {
	rows     map[uuid.UUID]*row
	position int64            // the highest so far
	last     map[string]int64 // row id of the latest event of a key so far
	verdict  verdict
}

// A row is what the table has of an event.
type row struct {
	id        int64
	key       string
	committed time.Time // when its transaction was, or where the server does not keep that, when it was inserted
	seen      bool
}

func newAudit() *audit {
	return &audit{rows: make(map[uuid.UUID]*row), last: make(map[string]int64)}
}

func (a *audit) row(id int64, event uuid.UUID, key string, committed time.Time) {
	a.rows[event] = &row{id: id, key: key, committed: committed}
	a.verdict.committed++
	a.verdict.lost++
}

// message takes the next message of the stream; event is what was read from it. The marker of a parked event is not
// the event. It returns the row of an event that was not there before, otherwise nil.
func (a *audit) message(event *outbox.Event, marker bool) *row {
	row, ok := a.rows[event.ID]
	switch {
	case marker:
		return nil
	case !ok || event.Position == 0:
		a.verdict.foreign++
		return nil
	case row.seen:
		a.verdict.duplicates++
		return nil
	}
	row.seen = true
	a.verdict.published++
	a.verdict.lost--
	if event.Position <= a.position || row.id < a.last[row.key] {
		a.verdict.reordered++
	}
	a.position = max(a.position, event.Position)
	a.last[row.key] = max(a.last[row.key], row.id)
	return row
}

// rowsOfAudit asks for commit times only where the server keeps them: the function is an error elsewhere.
const rowsOfAudit = `
SELECT id, event_id, coalesce(key, subject),
       coalesce(CASE WHEN current_setting('track_commit_timestamp')::boolean THEN pg_xact_commit_timestamp(xid::text::xid) END, created_at)
  FROM outbox.event`

// auditStream reads the whole table and the whole stream. seen, if set, is called once for each event in both, with
// the times of its commit and of its message in the stream.
func (s *stage) auditStream(ctx context.Context, seen func(e *outbox.Event, committed, stored time.Time)) (verdict, error) {
	a := newAudit()
	rows, err := s.pool.Query(ctx, s.table.SQL(rowsOfAudit))
	if err != nil {
		return verdict{}, fmt.Errorf("audit: read table: %w", err)
	}
	var id int64
	var event uuid.UUID
	var key string
	var committed time.Time
	if _, err := pgx.ForEachRow(rows, []any{&id, &event, &key, &committed}, func() error { a.row(id, event, key, committed); return nil }); err != nil {
		return verdict{}, fmt.Errorf("audit: read table: %w", err)
	}
	err = s.readStream(ctx, func(msg jetstream.Msg) error {
		event, err := outbox.Parse(msg.Subject(), msg.Headers(), nil)
		if err != nil {
			event = outbox.Event{} // then it is not one of ours
		}
		row := a.message(&event, msg.Headers().Get(outbox.HeaderParked) != "")
		meta, err := msg.Metadata()
		if err == nil && seen != nil && row != nil {
			seen(&event, row.committed, meta.Timestamp)
		}
		return err
	})
	if err != nil {
		return verdict{}, fmt.Errorf("audit: read stream: %w", err)
	}
	return a.verdict, nil
}

// readStream hands the headers of every message of the stream, in order, to f.
func (s *stage) readStream(ctx context.Context, f func(jetstream.Msg) error) error {
	const page = 4096
	stream, err := s.js.Stream(ctx, s.stream)
	if err != nil {
		return err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return err
	}
	for left := stream.CachedInfo().State.Msgs; left > 0; {
		batch, err := consumer.Fetch(int(min(left, page)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return err
		}
		before := left
		for msg := range batch.Messages() {
			left--
			if err := f(msg); err != nil {
				return err
			}
		}
		if err := batch.Error(); err != nil {
			return err
		}
		if left == before {
			return fmt.Errorf("%d messages did not come within 5 s", left)
		}
	}
	return nil
}
