package demo

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A watcher follows the headers of the stream, for what the panel says of delays. What the report says comes from
// the audit, which reads the whole stream.
type watcher struct {
	stage  *stage
	faults *faults

	delay delay        // from the insert of an event to its time in the stream
	last  atomic.Int64 // when the newest event seen was inserted, in nanoseconds
}

// Run follows until ctx ends; it outlives outages of the broker.
func (w *watcher) Run(ctx context.Context) error {
	consumer, err := w.stage.js.OrderedConsumer(ctx, w.stage.stream, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return quiet(ctx, fmt.Errorf("watch stream: %w", err))
	}
	following, err := consumer.Consume(w.see, jetstream.ConsumeErrHandler(func(jetstream.ConsumeContext, error) {})) // it tries again by itself
	if err != nil {
		return quiet(ctx, fmt.Errorf("watch stream: %w", err))
	}
	<-ctx.Done()
	following.Stop()
	<-following.Closed()
	return nil
}

func (w *watcher) see(msg jetstream.Msg) {
	ev, err := event.Parse(msg.Subject(), msg.Headers(), nil)
	meta, metaErr := msg.Metadata()
	if err != nil || metaErr != nil || ev.CreatedAt.IsZero() {
		return // the audit counts it
	}
	w.delay.observe(meta.Timestamp.Sub(ev.CreatedAt), w.faults.disturbed(ev.CreatedAt, meta.Timestamp))
	w.last.Store(ev.CreatedAt.UnixNano())
}

// A gauge looks, four times a second, how much is committed and published.
type gauge struct {
	show *show
	last int64 // published, as last known
}

const gaugeEvery = 250 * time.Millisecond

func newGauge(d *show) *gauge { return &gauge{show: d} }

// Run looks until ctx ends. It keeps the last known end of the stream while the broker is away.
func (g *gauge) Run(ctx context.Context) error {
	tick := time.NewTicker(gaugeEvery)
	defer tick.Stop()
	for {
		if err := g.look(ctx); err != nil {
			return quiet(ctx, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look reads the stream before the table, so that nothing pending is overlooked.
func (g *gauge) look(ctx context.Context) error {
	began, evicted := time.Now(), g.show.evicts.events.Load()
	if published, ok := g.show.stage.published(ctx); ok {
		g.last = published
	}
	status, err := g.show.stage.table.Status(ctx, g.show.stage.pool, g.show.stage.stream)
	if err != nil {
		return err
	}
	committed := status.Acked + status.Pending
	var lag time.Duration
	if last := g.show.watcher.last.Load(); committed > g.last && last != 0 {
		lag = time.Since(time.Unix(0, last))
	}
	g.show.board.measure(began, committed, g.last, evicted, lag)
	return nil
}

// published is how many messages the stream has; false while the broker is away.
func (s *stage) published(ctx context.Context) (int64, bool) {
	if !s.conn.IsConnected() {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.stream)
	if err != nil {
		return 0, false
	}
	return int64(stream.CachedInfo().State.Msgs), true // #nosec G115
}
