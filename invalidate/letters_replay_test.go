package invalidate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// killed is a source whose process dies while it forgets letters.
type killed struct {
	dead.Source
	after int // letters that it forgets before
}

var errKilled = errors.New("killed")

func (k *killed) Forget(ctx context.Context, letters []dead.Event) error {
	if len(letters) == 0 {
		return nil
	}
	n := min(k.after, len(letters))
	if err := k.Source.Forget(ctx, letters[:n]); err != nil {
		return err
	}
	return errKilled
}

// A replay that is killed between its commit and the deletes, or among the deletes, has replayed. The next one only
// deletes.
func TestReplayKilledBeforeTheDelete(t *testing.T) {
	m := newMorgue(t)
	m.die(10)
	_, err := dead.In(m.table).Replay(t.Context(), m.pool, dead.Work{Sources: []dead.Source{&killed{m.open(), 0}}, Limit: 4})
	same(t, "killed", errors.Is(err, errKilled), true)
	same(t, "letters", len(m.dead(dead.Filter{})), 10)
	_, err = dead.In(m.table).Replay(t.Context(), m.pool, dead.Work{Sources: []dead.Source{&killed{m.open(), 2}}, Limit: 3})
	same(t, "killed", errors.Is(err, errKilled), true)
	same(t, "letters", len(m.dead(dead.Filter{})), 8)
	same(t, "outcome", m.replay(m.open()), dead.Outcome{Done: 6, Already: 2})
	same(t, "letters", len(m.dead(dead.Filter{})), 0)
	same(t, "copies", len(m.copies()), 10)
	same(t, "decisions", m.decisions(), 10)
}

// interrupted is a source that cancels the context of a replay in the middle of a batch.
type interrupted struct {
	dead.Source
	cancel context.CancelFunc
}

func (i *interrupted) Load(ctx context.Context, letters []dead.Event) error {
	err := i.Source.Load(ctx, letters)
	i.cancel()
	return err
}

func TestReplayInterruptedBeforeTheCommit(t *testing.T) {
	m := newMorgue(t)
	m.die(5)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := dead.In(m.table).Replay(ctx, m.pool, dead.Work{Sources: []dead.Source{&interrupted{m.open(), cancel}}})
	same(t, "interrupted", errors.Is(err, context.Canceled), true)
	same(t, "decisions", m.decisions(), 0)
	same(t, "outcome", m.replay(m.open()), dead.Outcome{Done: 5})
	same(t, "copies", len(m.copies()), 5)
}

// A replay copies the row of an event, and the letter if there is no row. It cannot replay a letter without a body
// whose row was dropped, nor one with malformed headers.
func TestReplayPrefersTheRow(t *testing.T) {
	m := newMorgue(t)
	planned := m.die(3)
	publish := func(body string, header ...string) {
		msg := nats.NewMsg(event.DeadPrefix + m.stream)
		msg.Data = []byte(body)
		for i := 0; i < len(header); i += 2 {
			msg.Header.Set(header[i], header[i+1])
		}
		_, err := m.js.PublishMsg(t.Context(), msg)
		fatal(t, err)
	}
	omitted := func(position int64, id uuid.UUID) {
		publish("", event.HeaderDeadSubject, "a.b", event.HeaderDeadOmitted, "9", event.HeaderPosition, fmt.Sprint(position), event.HeaderEventID, id.String())
	}
	gone := uuid.New()
	omitted(planned[0].Position, planned[0].ID) // 4: the row has it
	omitted(planned[0].Position, gone)          // 5: another event has that position
	omitted(99, uuid.New())                     // 6: no such position
	publish("whole", event.HeaderDeadSubject, "a.b", event.HeaderPosition, "99", event.HeaderEventID, gone.String(), event.HeaderKey, "k")
	publish("foreign", event.HeaderDeadSubject, "a.c")                                // 8: an event that no relay published
	publish("bad", event.HeaderDeadSubject, "a.d", event.HeaderEventID, "not a uuid") // 9
	publish("what?")                                                                  // 10: no letter at all
	publish("ours", event.HeaderDeadSubject, "a.e", "Outbox-Odd", "x")                // 11: a reserved header
	_, err := m.pool.Exec(t.Context(), m.table.SQL(`DELETE FROM outbox.event WHERE id = $1`), planned[1].RowID)
	fatal(t, err)

	out := m.replay(m.open())
	same(t, "done", out.Done, 6)
	var reasons []string
	for _, f := range out.Failed {
		reasons = append(reasons, fmt.Sprint(f.Number, " ", f.Err))
	}
	for i, want := range []string{"5 its payload of 9 bytes exceeded the size of a dead letter", "6 its payload", "9 invalid event: header Outbox-Event-Id", "10 invalid event: subject is empty",
		`11 invalid event: header name "Outbox-Odd" is reserved`} {
		if i >= len(reasons) || !strings.HasPrefix(reasons[i], want) {
			t.Fatalf("failures %q, want %q", reasons, want)
		}
	}
	var got []string
	for _, p := range m.plan() {
		got = append(got, fmt.Sprint(string(p.Payload), " ", p.Key))
	}
	same(t, "copies", got, []string{`{"n": 0} 0`, `{"n": 1} 1`, `{"n": 2} 2`, `{"n": 0} 0`, "whole k", "foreign "})
	same(t, "letters left", len(m.dead(dead.Filter{})), 5)

	dropped, err := dead.In(m.table).Drop(t.Context(), m.pool, dead.Work{Sources: []dead.Source{m.open()}})
	same(t, "dropped", []any{dropped, err}, []any{dead.Outcome{Done: 5}, nil})
	same(t, "letters left", len(m.dead(dead.Filter{})), 0)
	same(t, "decisions", m.decisions(), 11)
}

// If the dead-letter stream lost messages, a new letter can have the sequence of one that was decided. It is neither
// replayed nor deleted.
func TestLetterAtASequenceThatWasDecided(t *testing.T) {
	m := newMorgue(t)
	m.die(2)
	l := m.open()
	letters := m.dead(dead.Filter{})
	for i, copied := range []any{uuid.New().String(), nil} {
		_, err := m.pool.Exec(t.Context(), m.table.SQL(`INSERT INTO outbox.decision (source, number, action, copy, decided_at)
			VALUES ($1, $2, CASE WHEN $3::text IS NULL THEN 'dropped' ELSE 'replayed' END, $3::text::uuid, '2026-01-01')`), letters[i].Origin, letters[i].Number, copied)
		fatal(t, err)
	}
	out := m.replay(l)
	same(t, "outcome", []any{out.Done, out.Already, len(out.Failed)}, []any{0, 0, 2})
	contains(t, "reason", out.Failed[0].Err.Error(), "the dead-letter stream lost messages")
	same(t, "letters left", len(m.dead(dead.Filter{})), 2)
}
