package invalidate_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A morgue is a rig with a table, whose events are inserted, planned, published, and then dead-lettered as poison.
type morgue struct {
	*rig
	table *table.Table
	pool  *pgxpool.Pool
}

func newMorgue(t *testing.T) *morgue {
	t.Helper()
	t.Parallel()
	m := &morgue{rig: newRig(t), pool: devtest.Pool(t)}
	var err error
	m.table, err = table.In(devtest.Schema(t))
	fatal(t, err)
	_, err = m.table.Migrate(t.Context(), m.pool)
	fatal(t, err)
	return m
}

// die publishes n events of three keys, as the relay would, and dead-letters them.
func (m *morgue) die(n int) []table.Planned {
	m.t.Helper()
	for i := range n {
		e := m.bought(i, fmt.Sprintf(`{"n": %d}`, i))
		e.Key = fmt.Sprint(i % 3)
		_, err := m.table.InsertAndCommit(m.t.Context(), m.pool, *e)
		fatal(m.t, err)
	}
	planned := m.plan()
	for i := range planned {
		msg := &nats.Msg{Subject: planned[i].Subject, Header: nats.Header{}, Data: planned[i].Payload}
		planned[i].SetHeaders(msg.Header)
		m.publishMsg(msg)
	}
	m.bury()
	return planned
}

func (m *morgue) plan() []table.Planned {
	m.t.Helper()
	s, err := m.table.OpenSession(m.t.Context(), m.pool.Config().ConnConfig.Copy(), m.t.Name())
	fatal(m.t, err)
	defer s.Close()
	planned, err := s.Plan(m.t.Context(), table.Page{Events: 10_000, Bytes: 1 << 30})
	fatal(m.t, err)
	return planned
}

// bury processes the stream.
func (m *morgue) bury() {
	m.t.Helper()
	m.published()
	v := m.invalidator(m.config())
	for {
		n, err := v.Step(m.t.Context())
		fatal(m.t, err)
		if n == 0 {
			break
		}
	}
	if s := v.Stats(); s.DeadErrors > 0 {
		m.t.Fatalf("stats %+v", s)
	}
}

func (m *morgue) open() *dead.Letters {
	m.t.Helper()
	l, err := dead.OpenLetters(m.t.Context(), m.js, m.stream, "")
	fatal(m.t, err)
	return l
}

func (m *morgue) dead(f dead.Filter) []dead.Event {
	m.t.Helper()
	list, err := dead.List(m.t.Context(), &f, 0, m.open())
	fatal(m.t, err)
	return list.First
}

func (m *morgue) replay(place dead.Source) dead.Outcome {
	m.t.Helper()
	out, err := dead.In(m.table).Replay(m.t.Context(), m.pool, dead.Work{Sources: []dead.Source{place}})
	fatal(m.t, err)
	return out
}

// copies returns the events that replays inserted, in order.
func (m *morgue) copies() (copies []table.Planned) {
	m.t.Helper()
	for _, p := range m.plan() {
		if p.ResendOf != uuid.Nil {
			copies = append(copies, p)
		}
	}
	return copies
}

func (m *morgue) decisions() (n int) {
	m.t.Helper()
	fatal(m.t, m.pool.QueryRow(m.t.Context(), m.table.SQL(`SELECT count(*) FROM outbox.decision`)).Scan(&n))
	return n
}

func TestLettersAreListed(t *testing.T) {
	m := newMorgue(t)
	same(t, "without a stream", len(m.dead(dead.Filter{})), 0)
	planned := m.die(600) // three pages
	all := m.dead(dead.Filter{})
	if len(all) != 600 {
		t.Fatalf("%d letters", len(all))
	}
	for i, d := range all {
		want := planned[i]
		if d.Number != int64(i+1) || d.ID != want.ID || d.Subject != want.Subject || d.Key != want.Key || d.Payload != nil || d.Sequence != uint64(i+1) || d.Size != len(want.Payload) {
			t.Fatalf("letter %d is %+v of %+v", i, d, want)
		}
	}
	d := all[0]
	same(t, "letter", []any{d.Source, d.Reason, d.By}, []any{"dead-letters", "poison", durable})
	contains(t, "detail", d.Detail, `"payload.cart" is missing`)
	contains(t, "source", d.Origin, m.stream+"_DEAD@20")
	same(t, "age", time.Since(d.Since) < patience, true)
	subject, err := event.SubjectPattern("*.bought.5")
	fatal(t, err)
	same(t, "by subject", len(m.dead(dead.Filter{Subject: subject})), 1)
	same(t, "by reason", len(m.dead(dead.Filter{Reason: "payload.cart"})), 600)
	same(t, "by id", m.dead(dead.Filter{EventID: planned[300].ID})[0].Number, 301)

	// List deletes its consumer.
	stream, err := m.js.Stream(t.Context(), m.stream+"_DEAD")
	fatal(t, err)
	same(t, "consumers", stream.CachedInfo().State.Consumers, 0)

	fatal(t, dead.In(m.table).Load(t.Context(), m.pool, m.open(), all[:2]))
	same(t, "loaded", []any{string(all[1].Payload), all[1].Headers, all[1].Flaw}, []any{`{"n": 1}`, map[string]string{"Trace": "abc"}, nil})
}

func TestReplayLetters(t *testing.T) {
	m := newMorgue(t)
	planned := m.die(1100)
	same(t, "outcome", m.replay(m.open()), dead.Outcome{Done: 1100})
	same(t, "letters", len(m.dead(dead.Filter{})), 0)
	copies := m.copies()
	if len(copies) != len(planned) {
		t.Fatalf("%d copies", len(copies))
	}
	for i, c := range copies {
		want := planned[i]
		if c.ResendOf != want.ID || c.ID == want.ID || c.Subject != want.Subject || c.Key != want.Key || string(c.Payload) != string(want.Payload) || c.Headers["Trace"] != "abc" || len(c.Headers) != 1 {
			t.Fatalf("copy %d is %+v of %+v", i, c.Event, want.Event)
		}
	}
	same(t, "again", m.replay(m.open()), dead.Outcome{})
}

// A dead-letter stream that was created again has other letters at the sequences that were read.
func TestLettersOfARecreatedStreamAreNotDeleted(t *testing.T) {
	m := newMorgue(t)
	m.die(1)
	l := m.open()
	letters := m.dead(dead.Filter{})
	fatal(t, m.js.DeleteStream(t.Context(), m.stream+"_DEAD"))
	m.die(1)
	if err := l.Forget(t.Context(), letters); !errors.Is(err, dead.ErrRecreated) {
		t.Errorf("forget: %v", err)
	}
	same(t, "letters", len(m.dead(dead.Filter{})), 1)
	same(t, "forgotten twice", []error{m.open().Forget(t.Context(), letters), m.open().Forget(t.Context(), letters)}, []error{nil, nil})
}

// A server that is not reachable is an error, not an empty list.
func TestLettersOfAnUnreachableServer(t *testing.T) {
	m := newMorgue(t)
	m.die(1)
	conn := devtest.Conn(t)
	js, err := jetstream.New(conn)
	fatal(t, err)
	l, err := dead.OpenLetters(t.Context(), js, m.stream, "")
	fatal(t, err)
	conn.Close()
	if _, err := dead.List(t.Context(), &dead.Filter{}, 0, l); err == nil {
		t.Error("list: no error")
	}
	if _, err := dead.OpenLetters(t.Context(), js, m.stream, ""); err == nil {
		t.Error("open: no error")
	}
}

// A dead-letter stream whose subjects do not include those of this stream has no letters of it.
func TestLettersOfAnotherStream(t *testing.T) {
	m := newMorgue(t)
	_, err := m.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: m.stream + "_DEAD", Subjects: []string{m.stream + "_WRONG"}})
	fatal(t, err)
	_, err = m.js.Publish(t.Context(), m.stream+"_WRONG", nil)
	fatal(t, err)
	same(t, "letters", len(m.dead(dead.Filter{})), 0)
}
