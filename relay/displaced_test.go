package relay_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// A relay died in a full window that a foreign message had got into: the server refused the one event whose place was
// taken and stored those behind it. The next relay finds that out by reading, not by the last message alone.
func TestEventsDisplacedByForeignMessages(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	run := g.start(g.config())
	g.insertN(10)
	g.drained()
	if err := run.stop(); err != nil {
		t.Fatal(err)
	}

	g.insertN(20)
	session, err := g.table.OpenSession(t.Context(), g.pool.Config().ConnConfig.Copy(), "dead")
	if err != nil {
		t.Fatal(err)
	}
	planned, err := session.Plan(t.Context(), table.Page{Events: 100, Bytes: 1 << 20})
	session.Close()
	if err != nil || len(planned) != 20 {
		t.Fatalf("planned %d, %v", len(planned), err)
	}
	for i, e := range planned {
		m := nats.NewMsg(e.Subject)
		if e.SetHeaders(m.Header); i == 4 || i == 5 || i >= 17 {
			m = nats.NewMsg(g.subject("foreign"))
		}
		m.Header.Set("Nats-Expected-Last-Sequence", strconv.FormatInt(e.Position-1, 10))
		if _, err := g.nc.RequestMsg(m, 2*time.Second); err != nil {
			t.Fatal(err)
		}
	}

	second := g.start(g.config())
	g.insertN(5)
	g.drained()
	v := g.verdict()
	if v.Lost+v.Twice+v.Misplaced > 0 || v.Published != 35 || v.Again != 2 || v.Foreign != 5 {
		t.Fatalf("stream against table: %+v", v)
	}
	if s := second.Stats(); s.Foreign != 5 || s.Rebases != 1 {
		t.Fatalf("stats %+v", s)
	}
	var states string
	err = g.pool.QueryRow(t.Context(), g.table.SQL(`SELECT string_agg(DISTINCT state, ',') || ' ' || count(*) || ' ' ||
		(SELECT count(*) FROM outbox.parked WHERE reason = 'displaced') FROM outbox.trail`)).Scan(&states)
	if err != nil || states != "published 35 2" {
		t.Fatalf("trail says %q, %v; want 35 published and 2 positions displaced", states, err)
	}
	// And once more: what is displaced is known, and nothing is published again.
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}
	g.start(g.config())
	g.insertN(1)
	g.drained()
	if v := g.verdict(); v.Lost+v.Twice > 0 || v.Published != 36 {
		t.Fatalf("stream against table: %+v", v)
	}
}
