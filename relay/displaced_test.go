package relay_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// A foreign message got into the full window of a relay that then died: the server rejected the event whose sequence was
// taken, and stored the events after it. The last message alone does not show that; the next relay reads them all.
func TestEventsDisplacedByForeignMessages(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	run := g.Start(g.Config())
	g.InsertN(10)
	g.Drained()
	if err := run.Stop(); err != nil {
		t.Fatal(err)
	}

	g.InsertN(20)
	session, err := g.Table.OpenSession(t.Context(), g.Pool.Config().ConnConfig.Copy(), "dead")
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
			m = nats.NewMsg(g.Subject("foreign"))
		}
		m.Header.Set("Nats-Expected-Last-Sequence", strconv.FormatInt(e.Position-1, 10))
		if _, err := g.NC.RequestMsg(m, 2*time.Second); err != nil {
			t.Fatal(err)
		}
	}

	second := g.Start(g.Config())
	g.InsertN(5)
	g.Drained()
	v := g.Verdict()
	if v.Lost+v.Twice+v.Misplaced > 0 || v.Published != 35 || v.Again != 2 || v.Foreign != 5 {
		t.Fatalf("stream against table: %+v", v)
	}
	if s := second.Stats(); s.Foreign != 5 || s.Rebases != 1 {
		t.Fatalf("stats %+v", s)
	}
	var states string
	err = g.Pool.QueryRow(t.Context(), g.Table.SQL(`SELECT string_agg(DISTINCT state, ',') || ' ' || count(*) || ' ' ||
		(SELECT count(*) FROM outbox.parked WHERE reason = 'displaced') FROM outbox.trail`)).Scan(&states)
	if err != nil || states != "published 35 2" {
		t.Fatalf("outbox.trail has %q, %v; want 35 published and 2 positions displaced", states, err)
	}
	// A second resume knows the displaced events and publishes nothing again.
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	g.Start(g.Config())
	g.InsertN(1)
	g.Drained()
	if v := g.Verdict(); v.Lost+v.Twice > 0 || v.Published != 36 {
		t.Fatalf("stream against table: %+v", v)
	}
}
