package relay_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// unparkedQueries counts the statements that read which events a stream has lost.
type unparkedQueries struct{ n atomic.Int64 }

func (l *unparkedQueries) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (l *unparkedQueries) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	if strings.HasPrefix(d.SQL, "-- expected_positions:") {
		l.n.Add(1)
	}
}

func (l *unparkedQueries) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (l *unparkedQueries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (l *unparkedQueries) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A table may keep events for longer than its stream. A relay that starts does not read, page by page, everything that expired there.
func TestExpiredMessagesAreNotRead(t *testing.T) {
	g := relaytest.New(t)
	js, err := jetstream.New(g.NC)
	relaytest.Must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: g.Stream, Subjects: append(g.Subjects(), event.ParkedPrefix+g.Stream),
		MaxAge: time.Minute + time.Second, Duplicates: time.Second})
	relaytest.Must(t, err)
	run := g.Start(g.Config())
	g.InsertN(20_000) // pages are of 4096
	g.Drained()
	relaytest.Must(t, run.Stop())
	devtest.Eventually(t, 10*time.Second, "everything may have expired", func() error {
		var old bool
		err := g.Pool.QueryRow(t.Context(), g.Table.SQL("SELECT max(planned_at) < clock_timestamp() - interval '1200 ms' FROM outbox.batch")).Scan(&old)
		if err == nil && !old {
			err = fmt.Errorf("not yet")
		}
		return err
	})
	relaytest.Must(t, g.JetStream().Purge(t.Context()))
	traced := g.Pool.Config()
	l := &unparkedQueries{}
	traced.ConnConfig.Tracer = l
	pool, err := pgxpool.NewWithConfig(t.Context(), traced)
	relaytest.Must(t, err)
	t.Cleanup(pool.Close)
	run = g.StartOn(pool, g.Connect(), g.Config())
	g.InsertN(1)
	g.Drained()
	if s := run.Stats(); s.Removed != 0 || l.n.Load() > 1 {
		t.Errorf("%d removed, %d queries; want none removed and one query at most", s.Removed, l.n.Load())
	}
	relaytest.Must(t, run.Stop())
}
