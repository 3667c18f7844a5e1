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
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// looks counts the statements that look for what a stream has lost.
type looks struct{ n atomic.Int64 }

func (l *looks) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (l *looks) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	if strings.HasPrefix(d.SQL, "-- unparked:") {
		l.n.Add(1)
	}
}

func (l *looks) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (l *looks) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (l *looks) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A table that keeps events for longer than its stream is not read for what has expired there, page by page, whenever a
// relay starts.
func TestExpiredMessagesAreNotLookedAt(t *testing.T) {
	g := newRig(t)
	js, err := jetstream.New(g.nc)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: g.stream, Subjects: append(g.subjects(), event.ParkedPrefix+g.stream),
		MaxAge: time.Minute + time.Second, Duplicates: time.Second})
	must(t, err)
	run := g.start(g.config())
	g.insertN(20_000) // pages are of 4096
	g.drained()
	must(t, run.stop())
	devtest.Eventually(t, 10*time.Second, "all of it may have expired", func() error {
		var old bool
		err := g.pool.QueryRow(t.Context(), g.table.SQL("SELECT max(planned_at) < clock_timestamp() - interval '1200 ms' FROM outbox.batch")).Scan(&old)
		if err == nil && !old {
			err = fmt.Errorf("not yet")
		}
		return err
	})
	must(t, g.jetStream().Purge(t.Context()))
	traced := g.pool.Config()
	l := &looks{}
	traced.ConnConfig.Tracer = l
	pool, err := pgxpool.NewWithConfig(t.Context(), traced)
	must(t, err)
	t.Cleanup(pool.Close)
	run = g.startOn(pool, g.connect(), g.config())
	g.insertN(1)
	g.drained()
	if s := run.Stats(); s.Removed != 0 || l.n.Load() > 1 {
		t.Errorf("%d removed, %d looks; want none, and one at most", s.Removed, l.n.Load())
	}
	must(t, run.stop())
}
