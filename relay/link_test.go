package relay_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
)

// proxy starts a faultnet proxy for the server of a URL and returns the URL of the proxy.
func proxy(t *testing.T, server string) (*faultnet.Proxy, string) {
	t.Helper()
	u, err := url.Parse(server)
	relaytest.Must(t, err)
	p, err := faultnet.Listen(u.Host)
	relaytest.Must(t, err)
	t.Cleanup(func() { relaytest.Must(t, p.Close()) })
	u.Host = p.Addr()
	return p, u.String()
}

// The broker stores everything and no ack arrives. The relay reads from the stream what it has, and publishes nothing twice.
func TestLostAcks(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	link, through := proxy(t, g.NATSURL)
	run := g.StartOn(g.Pool, g.ConnectTo(through), g.Config())
	for round := range 3 {
		g.InsertN(2000)
		devtest.Eventually(t, 20*time.Second, "publishing", func() error { return relaytest.Holds(run.Stats().Published > uint64(round*4000)) })
		dropped := link.Dropped(faultnet.ToClient)
		link.Drop(faultnet.ToClient)
		g.InsertN(2000)
		devtest.Eventually(t, 20*time.Second, "acks are lost", func() error { return relaytest.Holds(link.Dropped(faultnet.ToClient) > dropped+1000) })
		link.Heal()
		link.Cut()
		g.Drained()
	}
	g.Verify()
}

// The connection stays up and only the acks of a while are missing. AckWait detects it.
func TestAcksMissingOnAnOpenConnection(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	link, through := proxy(t, g.NATSURL)
	cfg := g.Config()
	cfg.AckWait = 300 * time.Millisecond
	run := g.StartOn(g.Pool, g.ConnectTo(through), cfg)
	g.InsertN(100)
	g.Drained()
	link.Stall(faultnet.ToClient)
	g.InsertN(100)
	devtest.Eventually(t, 20*time.Second, "the relay is in doubt", func() error { return relaytest.Holds(run.Stats().LastErrors > 0) })
	link.Heal()
	g.Drained()
	g.Verify()
}

// The link to the broker is slow and delivers a few bytes at a time.
func TestSlowLink(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	link, through := proxy(t, g.NATSURL)
	nc := g.ConnectTo(through)
	link.Slice(faultnet.ToServer, 1000, 100*time.Microsecond)
	link.Slice(faultnet.ToClient, 100, 0)
	g.StartOn(g.Pool, nc, g.Config())
	g.InsertN(3000)
	g.Drained()
	g.Verify()
}

// The link to PostgreSQL is cut repeatedly under load. The session ends each time, and its leader lock with it.
func TestSessionCut(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	link, through := proxy(t, devtest.Postgres(t).URL())
	pool, err := pgxpool.New(t.Context(), through)
	relaytest.Must(t, err)
	t.Cleanup(pool.Close)
	run := g.StartOn(pool, g.Connect(), g.Config())
	for i := range 8 {
		g.InsertN(1000)
		devtest.Eventually(t, 20*time.Second, fmt.Sprintf("publishing, round %d", i), func() error { return relaytest.Holds(run.Stats().Published > uint64(i*1000+10)) })
		link.Cut()
	}
	g.Drained()
	g.Verify()
}
