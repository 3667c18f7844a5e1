package demo

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A watcher follows the headers of the stream for the delays in the panel. The delays in the report come from the
// verification of the whole stream.
type watcher struct {
	env    *environment
	faults *faults

	delay delay        // from the insert of an event to its time in the stream
	last  atomic.Int64 // when the newest event seen was inserted, in nanoseconds
}

// Run follows the stream until ctx ends. It continues after an outage of the broker.
func (w *watcher) Run(ctx context.Context) error {
	consumer, err := w.env.js.OrderedConsumer(ctx, w.env.stream, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return nilIfEnded(ctx, fmt.Errorf("watch stream: %w", err))
	}
	ignore := jetstream.ConsumeErrHandler(func(jetstream.ConsumeContext, error) {}) // the client retries
	following, err := consumer.Consume(w.receive, ignore)
	if err != nil {
		return nilIfEnded(ctx, fmt.Errorf("watch stream: %w", err))
	}
	<-ctx.Done()
	following.Stop()
	<-following.Closed()
	return nil
}

func (w *watcher) receive(msg jetstream.Msg) {
	ev, err := event.Parse(msg.Subject(), msg.Headers(), nil)
	meta, metaErr := msg.Metadata()
	if err != nil || metaErr != nil || ev.CreatedAt.IsZero() {
		return // the verification counts it
	}
	w.delay.observe(meta.Timestamp.Sub(ev.CreatedAt), w.faults.disturbed(ev.CreatedAt, meta.Timestamp))
	w.last.Store(ev.CreatedAt.UnixNano())
}
