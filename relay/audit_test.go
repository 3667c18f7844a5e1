package relay_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func (g *rig) audit(cfg relay.AuditConfig) *relay.Audit {
	g.t.Helper()
	cfg.Stream = g.stream
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
	}
	a, err := relay.NewAudit(g.table, g.pool, g.nc, cfg)
	must(g.t, err)
	return a
}

// audited runs an audit and expects findings of these numbers and no others.
func (g *rig) audited(a *relay.Audit, want map[relay.Kind]int64) *relay.AuditReport {
	g.t.Helper()
	report, err := a.Run(g.t.Context())
	must(g.t, err)
	for _, kind := range relay.Kinds {
		if got := report.Found[kind].N; got != want[kind] {
			g.t.Errorf("%d %s, want %d: %+v", got, kind, want[kind], report.Found[kind].First)
		}
	}
	if g.t.Failed() {
		g.t.Fatalf("report %+v", report)
	}
	return report
}

// planned plans all there is, without a relay.
func (g *rig) planned() []table.Planned {
	g.t.Helper()
	session, err := g.table.OpenSession(g.t.Context(), g.pool.Config().ConnConfig.Copy(), "test")
	must(g.t, err)
	defer session.Close()
	events, err := session.Plan(g.t.Context(), table.Page{Events: 1000, Bytes: 1 << 20})
	must(g.t, err)
	return events
}

// store puts an event into the stream past its relay and its deduplication, and says at which sequence.
func (g *rig) store(e event.Event, headers ...string) uint64 {
	g.t.Helper()
	js, err := jetstream.New(g.nc)
	must(g.t, err)
	msg := nats.NewMsg(e.Subject)
	e.SetHeaders(msg.Header)
	msg.Header.Set(event.HeaderEventID, e.ID.String())
	msg.Header.Set(event.HeaderMsgID, uuid.NewString())
	for _, name := range headers {
		msg.Header.Set(name, "x")
	}
	ack, err := js.PublishMsg(g.t.Context(), msg)
	must(g.t, err)
	return ack.Sequence
}

func (g *rig) sql(query string, args ...any) {
	g.t.Helper()
	_, err := g.pool.Exec(g.t.Context(), g.table.SQL(query), args...)
	must(g.t, err)
}

// damages is every kind of damage, to an outbox of 60 published events without a relay, with what an audit finds then.
func damages() map[string]func(g *rig, e []table.Planned) map[relay.Kind]int64 {
	type found = map[relay.Kind]int64
	return map[string]func(g *rig, e []table.Planned) found{
		"nothing": func(g *rig, e []table.Planned) found { return nil },
		"deleted": func(g *rig, e []table.Planned) found {
			must(g.t, g.jetStream().DeleteMsg(g.t.Context(), 7))
			must(g.t, g.jetStream().DeleteMsg(g.t.Context(), 8))
			return found{relay.Missing: 2}
		},
		"purged": func(g *rig, e []table.Planned) found {
			must(g.t, g.jetStream().Purge(g.t.Context()))
			return found{relay.Missing: 60}
		},
		"purged, but for some": func(g *rig, e []table.Planned) found {
			must(g.t, g.jetStream().Purge(g.t.Context(), jetstream.WithPurgeKeep(20)))
			return found{relay.Missing: 40}
		},
		"deleted and made again": func(g *rig, e []table.Planned) found {
			js, err := jetstream.New(g.nc)
			must(g.t, err)
			config := g.info().Config
			must(g.t, js.DeleteStream(g.t.Context(), g.stream))
			_, err = js.CreateStream(g.t.Context(), config)
			must(g.t, err)
			return found{relay.Missing: 60}
		},
		"deleted for good": func(g *rig, e []table.Planned) found {
			js, err := jetstream.New(g.nc)
			must(g.t, err)
			must(g.t, js.DeleteStream(g.t.Context(), g.stream))
			return found{relay.Missing: 60}
		},
		"foreign": func(g *rig, e []table.Planned) found {
			g.foreign(2)
			return found{relay.Foreign: 2}
		},
		"rolled back": func(g *rig, e []table.Planned) found { // and published all the same
			g.store(event.Event{ID: uuid.New(), Subject: g.subject("x"), Key: "1", Position: 61})
			g.store(event.Event{ID: uuid.New(), Subject: g.subject("x"), Key: "1", Position: 5})
			g.store(event.Event{ID: uuid.New(), Subject: g.subject("x"), Key: "1", Position: 1 << 62})
			return found{relay.Foreign: 3}
		},
		"twice": func(g *rig, e []table.Planned) found {
			g.store(e[7].Event)
			g.store(e[59].Event)
			return found{relay.Duplicates: 2}
		},
		"behind a later event of its key": func(g *rig, e []table.Planned) found {
			g.insert(event.Event{Subject: g.subject("x"), Key: "a"}, event.Event{Subject: g.subject("x"), Key: "a"}, event.Event{Subject: g.subject("y")},
				event.Event{Subject: g.subject("y")}, event.Event{Subject: g.subject("z"), Key: "b"}, event.Event{Subject: g.subject("z"), Key: "c"},
				event.Event{Subject: g.subject("z"), Key: "d"}, event.Event{Subject: g.subject("z"), Key: "d"}, event.Event{Subject: g.subject("z"), Key: "e"})
			more := g.planned()
			for _, n := range []int{1, 0, 3, 2, 5, 4, 8, 6, 7} { // the last five are in the order of their keys
				g.store(more[n].Event)
			}
			return found{relay.Reordered: 2, relay.Unreceipted: 9}
		},
		"at another's position": func(g *rig, e []table.Planned) found {
			must(g.t, g.jetStream().DeleteMsg(g.t.Context(), 60))
			other := e[59].Event
			other.Position = 3
			g.store(other)
			return found{relay.Misplaced: 1, relay.Unreceipted: 0}
		},
		"without receipts": func(g *rig, e []table.Planned) found {
			g.sql("DELETE FROM outbox.receipt")
			return found{relay.Unreceipted: 60}
		},
		"never planned": func(g *rig, e []table.Planned) found {
			g.insertN(2)
			g.sql("UPDATE outbox.batch SET head = 62, snapshot = pg_current_snapshot() WHERE first_position = (SELECT max(first_position) FROM outbox.batch)")
			return found{relay.Unplanned: 2}
		},
		"waiting": func(g *rig, e []table.Planned) found {
			g.insertN(3)
			g.planned()
			g.insertN(4)
			return found{relay.Unplanned: 4, relay.Unpublished: 3}
		},
	}
}

// Every kind of damage is found, as what it is and as nothing else; and when it was repaired, nothing is.
func TestAudit(t *testing.T) {
	t.Parallel()
	for name, damage := range damages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.insertN(60)
			run := g.start(g.config())
			g.drained()
			must(t, run.stop())
			events, err := g.table.Load(t.Context(), g.pool, 1, table.Page{Events: 100, Bytes: 1 << 20})
			must(t, err)
			want := damage(g, events)
			a := g.audit(relay.AuditConfig{Grace: time.Nanosecond, Limit: 100})
			report := g.audited(a, want)
			if n := int64(len(report.Found[relay.Missing].First)); n != want[relay.Missing] {
				t.Errorf("%d missing are named", n)
			}
			would, err := a.TryRepair(t.Context(), report)
			must(t, err)
			g.audited(a, want)
			if name == "nothing" {
				return
			}
			cfg := g.config()
			cfg.OnRemoved = relay.Accept // the audit repairs, not the relay
			g.start(cfg)
			did, err := a.Repair(t.Context(), report)
			must(t, err)
			would.Orphans = did.Orphans
			if would.Receipts = did.Receipts; would != did {
				t.Errorf("would do %+v, did %+v", would, did)
			}
			g.drained()
			g.audited(a, nil)
			if did.Copies > 0 {
				g.endsWithCopies(events)
			}
		})
	}
}

// endsWithCopies says that consumers end with copies of the newest events of the keys that came in the wrong order: the second and the
// fourth of those behind events.
func (g *rig) endsWithCopies(events []table.Planned) {
	g.t.Helper()
	more, err := g.table.Load(g.t.Context(), g.pool, int64(len(events))+1, table.Page{Events: 100, Bytes: 1 << 20})
	must(g.t, err)
	last := map[string]uuid.UUID{}
	must(g.t, g.readStream(g.t.Context(), func(m jetstream.Msg) error {
		e, err := event.Parse(m.Subject(), m.Headers(), nil)
		last[e.Subject] = e.ResendOf
		return err
	}))
	if last[g.subject("x")] != more[1].ID || last[g.subject("y")] != more[3].ID || last[g.subject("z")] != uuid.Nil {
		g.t.Errorf("ends with copies of %v; want of %s and %s", last, more[1].ID, more[3].ID)
	}
}

// What the limits of a stream drop is expired, and no finding; what is gone beyond them is missing.
func TestAuditOfAStreamWithLimits(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	js, err := jetstream.New(g.nc)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: g.stream, Subjects: append(g.subjects(), relay.ControlSubject(g.stream)), MaxMsgs: 50, Discard: jetstream.DiscardOld,
	})
	must(t, err)
	run := g.start(g.config())
	g.insertN(200)
	g.drained()
	must(t, run.stop())
	a := g.audit(relay.AuditConfig{})
	if report := g.audited(a, nil); report.Expired != 150 || report.Published != 50 || report.Committed != 200 {
		t.Errorf("%+v", report)
	}
	must(t, g.jetStream().DeleteMsg(t.Context(), 170))
	g.audited(a, map[relay.Kind]int64{relay.Missing: 1})
}

// What is too old for a stream is expired.
func TestAuditOfAnOldStream(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	cfg := g.config()
	cfg.MaxAge = 500 * time.Millisecond
	run := g.start(cfg)
	g.insertN(100)
	g.drained()
	must(t, run.stop())
	devtest.Eventually(t, 20*time.Second, "all has expired", func() error { return ok(g.info().State.Msgs == 0) })
	if report := g.audited(g.audit(relay.AuditConfig{}), nil); report.Expired != 100 || report.Published != 0 {
		t.Errorf("%+v", report)
	}
}

// Where others write to the stream, their messages are no finding; what is lost is one, and comes again.
func TestAuditOfASharedStream(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	cfg := g.config()
	cfg.Shared = true
	run := g.start(cfg)
	g.insertN(100)
	g.drained()
	g.foreign(3)
	g.insertN(100)
	g.drained()
	must(t, run.stop())
	a := g.audit(relay.AuditConfig{})
	report := g.audited(a, map[relay.Kind]int64{relay.Foreign: 3})
	if report.Findings() != 0 || !report.Shared || report.Published != 200 {
		t.Errorf("%+v", report)
	}
	must(t, g.jetStream().DeleteMsg(t.Context(), 150))
	report = g.audited(a, map[relay.Kind]int64{relay.Foreign: 3, relay.Missing: 1})
	g.start(cfg)
	did, err := a.Repair(t.Context(), report)
	if err != nil || did.Replanned != 1 || did.Accepted != 0 {
		t.Errorf("%+v, %v", did, err)
	}
	g.audited(a, map[relay.Kind]int64{relay.Foreign: 3})
}

// What retention has dropped is counted, and no finding.
func TestAuditAfterRetention(t *testing.T) {
	g := newRig(t)
	g.start(g.retaining())
	g.insertN(3500)
	g.kept()
	report := g.audited(g.audit(relay.AuditConfig{}), nil)
	if report.Dropped+report.Published != 3500 || report.Published != report.Committed || report.Dropped == 0 {
		t.Errorf("%+v", report)
	}
}

// A window judges what was planned in it, and nothing else.
func TestAuditOfAWindow(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	run := g.start(g.config())
	var at []time.Time
	for range 3 {
		g.insertN(100)
		g.drained()
		var now time.Time
		must(t, g.pool.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&now))
		at = append(at, now)
	}
	must(t, run.stop())
	for _, sequence := range []uint64{50, 150, 151, 250, 251, 252} {
		must(t, g.jetStream().DeleteMsg(t.Context(), sequence))
	}
	for _, c := range []struct {
		since, until time.Time
		missing      int64
		published    int64
	}{
		{time.Time{}, time.Time{}, 6, 294}, {at[0], time.Time{}, 5, 195}, {at[1], time.Time{}, 3, 97}, {at[2], time.Time{}, 0, 0},
		{time.Time{}, at[0], 1, 99}, {at[0], at[1], 2, 98},
	} {
		report := g.audited(g.audit(relay.AuditConfig{Since: c.since, Until: c.until}), map[relay.Kind]int64{relay.Missing: c.missing})
		if report.Published != c.published || report.Committed != c.published+c.missing {
			t.Errorf("since %v until %v: %d published, %d committed; want %d and %d", c.since, c.until, report.Published, report.Committed, c.published, c.published+c.missing)
		}
	}
}

// What writers and a relay have in hand is no finding, nor is what a relay puts right meanwhile.
func TestAuditBesideARelay(t *testing.T) {
	g := newRig(t)
	g.start(g.config())
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
			_, err := g.pool.Exec(t.Context(), g.table.SQL(`INSERT INTO outbox.event (subject, key) SELECT $1 || '.' || (g % 50), (g % 50)::text FROM generate_series(1, $2::int) g`), g.stream, 1+n%500)
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	a := g.audit(relay.AuditConfig{})
	for n := range 4 {
		report := g.audited(a, nil)
		if n == 0 {
			devtest.Eventually(t, 20*time.Second, "events come", func() error { return ok(g.lastSequence() > 2000) })
		} else if report.Published < 2000 || report.Published > report.Committed {
			t.Errorf("%d published, %d committed", report.Published, report.Committed)
		}
	}
	close(stop)
	must(t, <-done)
	g.drained()
	if report := g.audited(a, nil); report.Committed != report.Published || report.Committed != int64(g.count()) || report.Pending != 0 {
		t.Errorf("%+v", report)
	}
}
