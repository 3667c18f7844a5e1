package audit_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func newAudit(g *relaytest.Rig, cfg audit.Config) *audit.Audit {
	g.T.Helper()
	cfg.Stream = g.Stream
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
	}
	a, err := audit.New(g.Table, g.Pool, g.NC, cfg)
	relaytest.Must(g.T, err)
	return a
}

// audited runs an audit and expects these numbers of findings and no others.
func audited(g *relaytest.Rig, a *audit.Audit, want map[audit.Kind]int64) *audit.Report {
	g.T.Helper()
	report, err := a.Run(g.T.Context())
	relaytest.Must(g.T, err)
	for _, kind := range audit.Kinds() {
		if got := report.Found[kind].N; got != want[kind] {
			g.T.Errorf("%d %s, want %d: %+v", got, kind, want[kind], report.Found[kind].First)
		}
	}
	if g.T.Failed() {
		g.T.Fatalf("report %+v", report)
	}
	return report
}

// store publishes an event without the relay and under another message id, and returns its sequence.
func store(g *relaytest.Rig, e event.Event, headers ...string) uint64 {
	g.T.Helper()
	js, err := jetstream.New(g.NC)
	relaytest.Must(g.T, err)
	msg := nats.NewMsg(e.Subject)
	e.SetHeaders(msg.Header)
	msg.Header.Set(event.HeaderEventID, e.ID.String())
	msg.Header.Set(event.HeaderMsgID, uuid.NewString())
	for _, name := range headers {
		msg.Header.Set(name, "x")
	}
	ack, err := js.PublishMsg(g.T.Context(), msg)
	relaytest.Must(g.T, err)
	return ack.Sequence
}

// damages does every kind of damage to an outbox of 60 published events without a relay, and returns what an audit must find.
func damages() map[string]func(g *relaytest.Rig, e []table.Planned) map[audit.Kind]int64 {
	type found = map[audit.Kind]int64
	return map[string]func(g *relaytest.Rig, e []table.Planned) found{
		"nothing": func(g *relaytest.Rig, e []table.Planned) found { return nil },
		"deleted": func(g *relaytest.Rig, e []table.Planned) found {
			relaytest.Must(g.T, g.JetStream().DeleteMsg(g.T.Context(), 7))
			relaytest.Must(g.T, g.JetStream().DeleteMsg(g.T.Context(), 8))
			return found{audit.Missing: 2}
		},
		"purged": func(g *relaytest.Rig, e []table.Planned) found {
			relaytest.Must(g.T, g.JetStream().Purge(g.T.Context()))
			return found{audit.Missing: 60}
		},
		"purged, but for some": func(g *relaytest.Rig, e []table.Planned) found {
			relaytest.Must(g.T, g.JetStream().Purge(g.T.Context(), jetstream.WithPurgeKeep(20)))
			return found{audit.Missing: 40}
		},
		"deleted and made again": func(g *relaytest.Rig, e []table.Planned) found {
			js, err := jetstream.New(g.NC)
			relaytest.Must(g.T, err)
			config := g.Info().Config
			relaytest.Must(g.T, js.DeleteStream(g.T.Context(), g.Stream))
			_, err = js.CreateStream(g.T.Context(), config)
			relaytest.Must(g.T, err)
			return found{audit.Missing: 60}
		},
		"deleted for good": func(g *relaytest.Rig, e []table.Planned) found {
			js, err := jetstream.New(g.NC)
			relaytest.Must(g.T, err)
			relaytest.Must(g.T, js.DeleteStream(g.T.Context(), g.Stream))
			return found{audit.Missing: 60}
		},
		"foreign": func(g *relaytest.Rig, e []table.Planned) found {
			g.Foreign(2)
			return found{audit.Foreign: 2}
		},
		"rolled back": func(g *relaytest.Rig, e []table.Planned) found { // but published
			store(g, event.Event{ID: uuid.New(), Subject: g.Subject("x"), Key: "1", Position: 61})
			store(g, event.Event{ID: uuid.New(), Subject: g.Subject("x"), Key: "1", Position: 5})
			store(g, event.Event{ID: uuid.New(), Subject: g.Subject("x"), Key: "1", Position: 1 << 62})
			return found{audit.Foreign: 3}
		},
		"twice": func(g *relaytest.Rig, e []table.Planned) found {
			store(g, e[7].Event)
			store(g, e[59].Event)
			return found{audit.Duplicates: 2}
		},
		"behind a later event of its key": func(g *relaytest.Rig, e []table.Planned) found {
			g.Insert(event.Event{Subject: g.Subject("x"), Key: "a"}, event.Event{Subject: g.Subject("x"), Key: "a"}, event.Event{Subject: g.Subject("y")},
				event.Event{Subject: g.Subject("y")}, event.Event{Subject: g.Subject("z"), Key: "b"}, event.Event{Subject: g.Subject("z"), Key: "c"},
				event.Event{Subject: g.Subject("z"), Key: "d"}, event.Event{Subject: g.Subject("z"), Key: "d"}, event.Event{Subject: g.Subject("z"), Key: "e"})
			more := g.Planned()
			for _, n := range []int{1, 0, 3, 2, 5, 4, 8, 6, 7} { // the order of the keys of the last five is right
				store(g, more[n].Event)
			}
			return found{audit.Reordered: 2, audit.Unreceipted: 9}
		},
		"at another's position": func(g *relaytest.Rig, e []table.Planned) found {
			relaytest.Must(g.T, g.JetStream().DeleteMsg(g.T.Context(), 60))
			other := e[59].Event
			other.Position = 3
			store(g, other)
			return found{audit.Misplaced: 1, audit.Unreceipted: 0}
		},
		"without receipts": func(g *relaytest.Rig, e []table.Planned) found {
			g.SQL("DELETE FROM outbox.receipt")
			return found{audit.Unreceipted: 60}
		},
		"never planned": func(g *relaytest.Rig, e []table.Planned) found {
			g.InsertN(2)
			g.SQL("UPDATE outbox.batch SET head = 62, snapshot = pg_current_snapshot() WHERE first_position = (SELECT max(first_position) FROM outbox.batch)")
			return found{audit.Unplanned: 2}
		},
		"waiting": func(g *relaytest.Rig, e []table.Planned) found {
			g.InsertN(3)
			g.Planned()
			g.InsertN(4)
			return found{audit.Unplanned: 4, audit.Unpublished: 3}
		},
	}
}

// An audit finds every kind of damage as what it is, and nothing else. After a repair it finds nothing.
func TestAudit(t *testing.T) {
	t.Parallel()
	for name, damage := range damages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := relaytest.New(t)
			g.InsertN(60)
			run := g.Start(g.Config())
			g.Drained()
			relaytest.Must(t, run.Stop())
			events, err := g.Table.Load(t.Context(), g.Pool, 1, table.Page{Events: 100, Bytes: 1 << 20})
			relaytest.Must(t, err)
			want := damage(g, events)
			a := newAudit(g, audit.Config{Grace: time.Nanosecond, Limit: 100})
			report := audited(g, a, want)
			if n := int64(len(report.Found[audit.Missing].First)); n != want[audit.Missing] {
				t.Errorf("%d missing are named", n)
			}
			would, err := a.TryRepair(t.Context(), report)
			relaytest.Must(t, err)
			audited(g, a, want)
			if name == "nothing" {
				return
			}
			cfg := g.Config()
			cfg.OnRemoved = relay.RemovedAccept // the audit repairs, not the relay
			g.Start(cfg)
			did, err := a.Repair(t.Context(), report)
			relaytest.Must(t, err)
			would.Orphans = did.Orphans
			if would.Receipts = did.Receipts; would != did {
				t.Errorf("would do %+v, did %+v", would, did)
			}
			g.Drained()
			audited(g, a, nil)
			if did.Copies > 0 {
				endsWithCopies(g, events)
			}
		})
	}
}

// endsWithCopies expects the stream to end with copies of the newest events of the reordered keys: the second and the
// fourth of events.
func endsWithCopies(g *relaytest.Rig, events []table.Planned) {
	g.T.Helper()
	more, err := g.Table.Load(g.T.Context(), g.Pool, int64(len(events))+1, table.Page{Events: 100, Bytes: 1 << 20})
	relaytest.Must(g.T, err)
	last := map[string]uuid.UUID{}
	relaytest.Must(g.T, g.ReadStream(g.T.Context(), func(m jetstream.Msg) error {
		e, err := event.Parse(m.Subject(), m.Headers(), nil)
		last[e.Subject] = e.ResendOf
		return err
	}))
	if last[g.Subject("x")] != more[1].ID || last[g.Subject("y")] != more[3].ID || last[g.Subject("z")] != uuid.Nil {
		g.T.Errorf("ends with copies of %v; want of %s and %s", last, more[1].ID, more[3].ID)
	}
}

// What the limits of a stream removed has expired and is no finding. What is gone beyond that is missing.
func TestAuditOfAStreamWithLimits(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	js, err := jetstream.New(g.NC)
	relaytest.Must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: g.Stream, Subjects: append(g.Subjects(), relay.ControlSubject(g.Stream)), MaxMsgs: 50, Discard: jetstream.DiscardOld,
	})
	relaytest.Must(t, err)
	run := g.Start(g.Config())
	g.InsertN(200)
	g.Drained()
	relaytest.Must(t, run.Stop())
	a := newAudit(g, audit.Config{})
	if report := audited(g, a, nil); report.Expired != 150 || report.Published != 50 || report.Committed != 200 {
		t.Errorf("%+v", report)
	}
	relaytest.Must(t, g.JetStream().DeleteMsg(t.Context(), 170))
	audited(g, a, map[audit.Kind]int64{audit.Missing: 1})
}

// What is older than the stream's maximum age has expired.
func TestAuditOfAnOldStream(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	cfg := g.Config()
	cfg.MaxAge = 500 * time.Millisecond
	run := g.Start(cfg)
	g.InsertN(100)
	g.Drained()
	relaytest.Must(t, run.Stop())
	devtest.Eventually(t, 20*time.Second, "all has expired", func() error { return relaytest.Holds(g.Info().State.Msgs == 0) })
	if report := audited(g, newAudit(g, audit.Config{}), nil); report.Expired != 100 || report.Published != 0 {
		t.Errorf("%+v", report)
	}
}

// On a shared stream the messages of others are no finding. A lost event is one, and a repair publishes it again.
func TestAuditOfASharedStream(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	cfg := g.Config()
	cfg.Shared = true
	run := g.Start(cfg)
	g.InsertN(100)
	g.Drained()
	g.Foreign(3)
	g.InsertN(100)
	g.Drained()
	relaytest.Must(t, run.Stop())
	a := newAudit(g, audit.Config{})
	report := audited(g, a, map[audit.Kind]int64{audit.Foreign: 3})
	if report.Findings() != 0 || !report.Shared || report.Published != 200 {
		t.Errorf("%+v", report)
	}
	relaytest.Must(t, g.JetStream().DeleteMsg(t.Context(), 150))
	report = audited(g, a, map[audit.Kind]int64{audit.Foreign: 3, audit.Missing: 1})
	g.Start(cfg)
	did, err := a.Repair(t.Context(), report)
	if err != nil || did.Replanned != 1 || did.Accepted != 0 {
		t.Errorf("%+v, %v", did, err)
	}
	audited(g, a, map[audit.Kind]int64{audit.Foreign: 3})
}

// What retention dropped is counted and is no finding.
func TestAuditAfterRetention(t *testing.T) {
	g := relaytest.New(t)
	g.Start(g.Retaining())
	g.InsertN(3500)
	g.Retained()
	report := audited(g, newAudit(g, audit.Config{}), nil)
	if report.Dropped+report.Published != 3500 || report.Published != report.Committed || report.Dropped == 0 {
		t.Errorf("%+v", report)
	}
}

// An audit of a time window covers what was planned in it, and nothing else.
func TestAuditOfAWindow(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	run := g.Start(g.Config())
	var at []time.Time
	for range 3 {
		g.InsertN(100)
		g.Drained()
		var now time.Time
		relaytest.Must(t, g.Pool.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&now))
		at = append(at, now)
	}
	relaytest.Must(t, run.Stop())
	for _, sequence := range []uint64{50, 150, 151, 250, 251, 252} {
		relaytest.Must(t, g.JetStream().DeleteMsg(t.Context(), sequence))
	}
	for _, c := range []struct {
		since, until time.Time
		missing      int64
		published    int64
	}{
		{time.Time{}, time.Time{}, 6, 294}, {at[0], time.Time{}, 5, 195}, {at[1], time.Time{}, 3, 97}, {at[2], time.Time{}, 0, 0},
		{time.Time{}, at[0], 1, 99}, {at[0], at[1], 2, 98},
	} {
		report := audited(g, newAudit(g, audit.Config{Since: c.since, Until: c.until}), map[audit.Kind]int64{audit.Missing: c.missing})
		if report.Published != c.published || report.Committed != c.published+c.missing {
			t.Errorf("since %v until %v: %d published, %d committed; want %d and %d", c.since, c.until, report.Published, report.Committed, c.published, c.published+c.missing)
		}
	}
}

// What writers and a relay have in flight is no finding, nor is what a relay repairs meanwhile.
func TestAuditBesideARelay(t *testing.T) {
	g := relaytest.New(t)
	g.Start(g.Config())
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for n := 0; n < 250; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			_, err := g.Pool.Exec(t.Context(), g.Table.SQL(`INSERT INTO outbox.event (subject, key) SELECT $1 || '.' || (g % 50), (g % 50)::text FROM generate_series(1, $2::int) g`), g.Stream, 1+n%500)
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	a := newAudit(g, audit.Config{})
	for n := range 4 {
		report := audited(g, a, nil)
		if n == 0 {
			devtest.Eventually(t, 20*time.Second, "events come", func() error { return relaytest.Holds(g.LastSequence() > 2000) })
		} else if report.Published < 2000 || report.Published > report.Committed {
			t.Errorf("%d published, %d committed", report.Published, report.Committed)
		}
	}
	close(stop)
	relaytest.Must(t, <-done)
	g.Drained()
	if report := audited(g, a, nil); report.Committed != report.Published || report.Committed != int64(g.Count()) || report.Pending != 0 {
		t.Errorf("%+v", report)
	}
}
