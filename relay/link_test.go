package relay_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

// proxy puts a faultnet in front of the server of a URL, and returns the URL through it.
func proxy(t *testing.T, server string) (*faultnet.Proxy, string) {
	t.Helper()
	u, err := url.Parse(server)
	must(t, err)
	p, err := faultnet.Listen(u.Host)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	u.Host = p.Addr()
	return p, u.String()
}

// The broker stores everything and not one ack comes back: what is in the stream is read there, and nothing is
// published twice.
func TestLostAcks(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	link, through := proxy(t, g.natsURL)
	run := g.startOn(g.pool, g.connectTo(through), g.config())
	for round := range 3 {
		g.insertN(2000)
		devtest.Eventually(t, 20*time.Second, "publishing", func() error { return ok(run.Stats().Published > uint64(round*4000)) })
		dropped := link.Dropped(faultnet.ToClient)
		link.Drop(faultnet.ToClient)
		g.insertN(2000)
		devtest.Eventually(t, 20*time.Second, "acks are lost", func() error { return ok(link.Dropped(faultnet.ToClient) > dropped+1000) })
		link.Heal()
		link.Cut()
		g.drained()
	}
	g.verify()
}

// Without a cut the connection lives on and only the acks of a while are missing: AckWait finds that out.
func TestAcksMissingOnALivingConnection(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	link, through := proxy(t, g.natsURL)
	cfg := g.config()
	cfg.AckWait = 300 * time.Millisecond
	run := g.startOn(g.pool, g.connectTo(through), cfg)
	g.insertN(100)
	g.drained()
	link.Stall(faultnet.ToClient)
	g.insertN(100)
	devtest.Eventually(t, 20*time.Second, "the relay doubts", func() error { return ok(run.Stats().LastErrors > 0) })
	link.Heal()
	g.drained()
	g.verify()
}

// The broker's link is slow and comes in crumbs.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	link, through := proxy(t, g.natsURL)
	nc := g.connectTo(through)
	link.Slice(faultnet.ToServer, 1000, 100*time.Microsecond)
	link.Slice(faultnet.ToClient, 100, 0)
	g.startOn(g.pool, nc, g.config())
	g.insertN(3000)
	g.drained()
	g.verify()
}

// PostgreSQL's link is cut again and again under load: session, leader lock and plan end together and begin together.
func TestSessionCut(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	link, through := proxy(t, devtest.Postgres(t).URL())
	pool, err := pgxpool.New(t.Context(), through)
	must(t, err)
	t.Cleanup(pool.Close)
	run := g.startOn(pool, g.connect(), g.config())
	for i := range 8 {
		g.insertN(1000)
		devtest.Eventually(t, 20*time.Second, fmt.Sprintf("publishing, round %d", i), func() error { return ok(run.Stats().Published > uint64(i*1000+10)) })
		link.Cut()
	}
	g.drained()
	g.verify()
}
