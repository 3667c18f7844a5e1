package relay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func TestRelayPublishesWhatCommits(t *testing.T) {
	g := relaytest.New(t)
	run := g.Start(g.Config())
	g.Insert(event.Event{Subject: g.Subject("a"), Key: "k", Payload: []byte(`{"a":1}`), Headers: map[string]string{"Trace": "x"}})
	g.InsertN(5000)
	g.Drained()
	g.Verify()
	if err := run.Stop(); err != nil {
		t.Fatal(err)
	}
	if s := run.Stats(); s.Published != 5001 || s.Parked != 0 || s.Leads {
		t.Fatalf("stats %+v", s)
	}
}

func TestRelayResumesWhereTheStreamEnds(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	for range 3 {
		g.InsertN(1000)
		run := g.Start(g.Config())
		g.Drained()
		if err := run.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	g.Verify()
}

func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	a := g.Start(g.Config())
	devtest.Eventually(t, 5*time.Second, "a leads", func() error { return relaytest.Holds(a.Stats().Leads) })
	b := g.Start(g.Config())
	g.InsertN(100)
	g.Drained()
	if b.Stats().Leads {
		t.Fatal("two relays lead")
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	g.InsertN(100)
	g.Drained()
	if s := b.Stats(); !s.Leads || s.Published != 100 {
		t.Fatalf("stats of the standby %+v", s)
	}
	g.Verify()
}

// Foreign messages that arrive while nothing is in flight, after a pause or after earlier foreign messages, move the
// base. The order stays.
func TestForeignMessagesMoveTheBase(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	run := g.Start(g.Config())
	g.InsertN(100)
	g.Drained()
	devtest.Eventually(t, 20*time.Second, "the relay has been quiet", func() error { return relaytest.Holds(time.Since(run.Stats().LastAck) > 200*time.Millisecond) })
	for range 2 {
		g.Foreign(3)
		g.InsertN(100)
		g.Drained()
	}
	if v := g.Verdict(); v.Lost+v.Twice+v.Reordered+v.Misplaced > 0 || v.Foreign != 6 || v.Published != 300 {
		t.Fatalf("stream against table: %+v", v)
	}
	if s := run.Stats(); s.Rebases != 3 || s.Foreign != 6 {
		t.Fatalf("stats %+v", s)
	}
}

// Foreign messages that arrive within a window take the sequences of events. The relay publishes those events at the end: nothing
// is lost and nothing is published twice.
func TestForeignMessagesInAWindow(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	run := g.Start(g.Config())
	inserted := make(chan struct{})
	go func() { defer close(inserted); g.InsertN(40_000) }()
	for i := 0; ; i++ {
		select {
		case <-inserted:
		default:
			g.Foreign(1)
			continue
		}
		break
	}
	devtest.Eventually(t, 20*time.Second, "a foreign message got into the window", func() error {
		g.Foreign(2)
		g.InsertN(500)
		return relaytest.Holds(run.Stats().Foreign > 5)
	})
	g.Drained()
	if v := g.Verdict(); v.Lost+v.Twice > 0 || v.Foreign == 0 || v.Published != int64(g.Count()) {
		t.Fatalf("stream against table: %+v", v)
	}
	t.Logf("%+v", g.Verdict())
}

func TestUnpublishableEventsAreParked(t *testing.T) {
	g := relaytest.New(t)
	js, err := jetstream.New(g.NC)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: g.Stream, Subjects: append(g.Subjects(), relay.ControlSubject(g.Stream)), MaxMsgSize: 2000,
	})
	if err != nil {
		t.Fatal(err)
	}
	twice := event.Event{Subject: g.Subject("twice"), ID: [16]byte{1, 2, 3}}
	g.Insert(event.Event{Subject: g.Subject("good")}, event.Event{Subject: "elsewhere.1"}, event.Event{Subject: g.Subject("good")})
	g.Insert(event.Event{Subject: g.Subject("large"), Payload: make([]byte, 3000)})
	g.Insert(event.Event{Subject: g.Subject("header"), Payload: make([]byte, 1990)}) // too large with its headers, which only the server can know
	g.Insert(twice, event.Event{Subject: g.Subject("good")}, twice, event.Event{Subject: g.Subject("good")})
	run := g.Start(g.Config())
	g.Drained()
	var reasons string
	err = g.Pool.QueryRow(t.Context(), g.Table.SQL("SELECT string_agg(position || ' ' || reason, ', ' ORDER BY position) FROM outbox.parked")).Scan(&reasons)
	if err != nil {
		t.Fatal(err)
	}
	if want := "2 no_stream, 4 too_large, 5 too_large, 8 duplicate_id"; reasons != want {
		t.Fatalf("parked %q, want %q", reasons, want)
	}
	if s := run.Stats(); s.Parked != 4 || s.Published != 5 {
		t.Fatalf("stats %+v", s)
	}
	if last := g.Info().State.LastSeq; last != 9 {
		t.Fatalf("stream ends at %d, want 9: events and markers", last)
	}
}

func TestHaltOnRefusal(t *testing.T) {
	g := relaytest.New(t)
	cfg := g.Config()
	cfg.OnRefuse = relay.RefusedHalt
	r, err := relay.New(g.Pool, g.Connect(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.Insert(event.Event{Subject: "elsewhere.1"})
	err = r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not cover") || !strings.Contains(err.Error(), "--on-refuse park") {
		t.Fatalf("got %v", err)
	}
}

func TestStreamThatDoesNotCover(t *testing.T) {
	g := relaytest.New(t)
	js, err := jetstream.New(g.NC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: g.Stream, Subjects: []string{g.Stream + ".x"}}); err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(g.Pool, g.Connect(), g.Config())
	if err != nil {
		t.Fatal(err)
	}
	err = r.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "nats stream edit "+g.Stream) {
		t.Fatalf("got %v, want the command that repairs it", err)
	}
}

func TestSharedStream(t *testing.T) {
	g := relaytest.New(t)
	cfg := g.Config()
	cfg.Shared = true
	g.InsertN(3000)
	run := g.Start(cfg)
	g.Foreign(10)
	g.InsertN(1000)
	g.Drained()
	if err := run.Stop(); err != nil {
		t.Fatal(err)
	}
	if last := g.Info().State.LastSeq; last != 4010 {
		t.Fatalf("stream ends at %d, want 4010", last)
	}
}

// No message is in the stream before its position is durable: whoever receives a message finds its position
// committed.
func TestPlanIsCommittedBeforeAnythingIsPublished(t *testing.T) {
	g := relaytest.New(t)
	g.Start(g.Config())
	sub, err := g.NC.SubscribeSync(g.Stream + ".>")
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		g.Insert(event.Event{Subject: g.Subject("a")})
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		cursor, err := g.Table.Cursor(t.Context(), g.Pool)
		if err != nil {
			t.Fatal(err)
		}
		e, err := event.Parse(m.Subject, m.Header, m.Data)
		if err != nil || e.Position > cursor.LastPosition {
			t.Fatalf("position %d is published, but the plan ends at %d (%v)", e.Position, cursor.LastPosition, err)
		}
	}
}
