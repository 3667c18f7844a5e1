package verify_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func TestMain(m *testing.M) { devtest.Main(m) }

// A scene is nine committed and planned events of three keys, and an empty stream.
type scene struct {
	t      *testing.T
	stream verify.Stream
	js     jetstream.JetStream
	events []event.Event
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, stream: verify.Stream{Pool: devtest.Pool(t), Conn: devtest.Conn(t), Name: devtest.Stream(t)}}
	var err error
	s.stream.Table, err = table.In(devtest.Schema(t))
	s.must(err)
	_, err = s.stream.Table.Migrate(t.Context(), s.stream.Pool)
	s.must(err)
	for n := range 9 {
		_, err = s.stream.Table.InsertAndCommit(t.Context(), s.stream.Pool, event.Event{Subject: s.stream.Name + ".x", Key: fmt.Sprint(n % 3)})
		s.must(err)
	}
	session, err := s.stream.Table.OpenSession(t.Context(), s.stream.Pool.Config().ConnConfig.Copy(), t.Name())
	s.must(err)
	defer session.Close()
	planned, err := session.Plan(t.Context(), table.Page{Events: 100, Bytes: 1 << 20})
	s.must(err)
	for _, p := range planned {
		s.events = append(s.events, p.Event)
	}
	s.js, err = jetstream.New(s.stream.Conn)
	s.must(err)
	_, err = s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: s.stream.Name, Subjects: []string{s.stream.Name + ".>"}})
	s.must(err)
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// store publishes an event with a random message id, so that the stream does not recognize a duplicate.
func (s *scene) store(e event.Event, headers ...string) {
	s.t.Helper()
	msg := nats.NewMsg(e.Subject)
	e.SetHeaders(msg.Header)
	msg.Header.Set(event.HeaderEventID, e.ID.String())
	msg.Header.Set(event.HeaderMsgID, uuid.NewString())
	for _, name := range headers {
		msg.Header.Set(name, "x")
	}
	_, err := s.js.PublishMsg(s.t.Context(), msg)
	s.must(err)
}

// TestVerdicts expects each kind of damage to be counted as that kind, and as no other.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	type events = []event.Event
	all := verify.Verdict{Committed: 9, Published: 9}
	with := func(change func(*verify.Verdict)) verify.Verdict { v := all; change(&v); return v }
	for name, c := range map[string]struct {
		change func(events) events
		want   verify.Verdict
	}{
		"nothing": {func(e events) events { return e }, all},
		"lost": {func(e events) events { return append(e[:4], e[5:]...) },
			with(func(v *verify.Verdict) { v.Published, v.Lost = 8, 1 })},
		"twice": {func(e events) events { return append(e, e[8]) }, with(func(v *verify.Verdict) { v.Twice = 1 })},
		"after a later position": {func(e events) events { e[3], e[4] = e[4], e[3]; return e },
			with(func(v *verify.Verdict) { v.Reordered = 1 })},
		"another event's position": {func(e events) events {
			e[3].Position, e[6].Position = e[6].Position, e[3].Position
			e[3], e[6] = e[6], e[3]
			return e
		},
			with(func(v *verify.Verdict) { v.Misplaced, v.Reordered = 2, 1 })},
		"never committed": {func(e events) events {
			return append(e, event.Event{ID: uuid.New(), Subject: e[0].Subject, Key: "1", Position: 10})
		},
			with(func(v *verify.Verdict) { v.Foreign = 1 })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			for _, e := range c.change(s.events) {
				s.store(e)
			}
			got, err := s.stream.Verify(t.Context())
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			if (got.Err() != nil) != (name != "nothing") {
				t.Errorf("Err = %v", got.Err())
			}
		})
	}
}

// TestMarkers: an event that only has a marker is lost, unless it has a row in outbox.parked.
func TestMarkers(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for i, e := range s.events {
		if i == 4 {
			s.store(e, event.HeaderParked)
		} else {
			s.store(e)
		}
	}
	got, err := s.stream.Verify(t.Context())
	if want := (verify.Verdict{Committed: 9, Published: 8, Lost: 1}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	e := &table.Planned{Event: s.events[4], RowID: 5}
	s.must(s.stream.Table.Park(t.Context(), s.stream.Pool, e, "too_large", "", "test"))
	got, err = s.stream.Verify(t.Context())
	if want := (verify.Verdict{Committed: 9, Published: 8, Parked: 1}); err != nil || got != want || got.Err() != nil {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// TestPlanFaults counts rows without a position and positions without a row.
func TestPlanFaults(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, e := range s.events {
		s.store(e)
	}
	_, err := s.stream.Pool.Exec(t.Context(), s.stream.Table.SQL("DELETE FROM outbox.event WHERE id = 3; INSERT INTO outbox.event (subject) VALUES ('x')"))
	s.must(err)
	got, err := s.stream.Verify(t.Context())
	if err != nil || got.Unplanned != 1 || got.Lost != 1 || got.Foreign != 1 || got.Misplaced == 0 || got.Err() == nil {
		t.Errorf("%+v, %v", got, err)
	}
}
