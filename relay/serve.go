package relay

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// origin is where a window begins: position next, at sequence next + base if the stream is chained.
type origin struct {
	*stream.State
	next     int64
	base     int64
	receipts int64  // position of the last receipt
	believed uint64 // the last sequence that the server expects before next, if it is not the stream's; 0 for none
}

// before is the sequence that must be the stream's last when a position is published.
func (o *origin) before(position int64) int64 {
	if position == o.next && o.believed > 0 {
		return int64(o.believed)
	}
	return position + o.base - 1
}

// window resumes where the stream ends, does what the last doubt requires, and publishes until the next doubt. Three
// goroutines end with it: the source, the recorder and the reconciler.
func (r *Relay) window(ctx, work context.Context, s *table.Session, last *doubt) error {
	// Registered before the stream is read: a connection lost afterwards leaves the outcome in doubt.
	lost := r.nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer r.nc.RemoveStatusListener(lost)
	at, freshID, err := r.resume(work, s, last)
	if err != nil || at == nil {
		return err
	}
	r.stats.connected.Store(true)

	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []table.Planned, 1)
	src := &source{r: r, s: s, next: at.next, out: batches}
	planned := make(chan error, 1)
	go func() { planned <- src.run(work, stop) }()

	r.credit(at)
	rec := &recorder{r: r, wrote: at.receipts, latest: table.Receipt{Stream: at.ID, Position: at.receipts}}
	if found := at.next - 1; found > at.receipts { // the stream has it, and its receipt was not written
		rec.note(found, uint64(found+at.base))
	}
	stopRecording := make(chan struct{})
	recorded := make(chan struct{})
	go func() { defer close(recorded); rec.run(work, stopRecording) }()

	watch := &reconciler{r: r, at: at, changed: make(chan error, 1)}
	watched := make(chan struct{})
	go func() { defer close(watched); watch.run(stop) }()

	err = r.publish(work, at, batches, rec, freshID, lost, watch.changed)
	cancel()
	<-watched
	r.mem.suspects = watch.suspects
	for range batches { // the plan has these batches: the next window finds them again
	}
	if planErr := <-planned; planErr != nil && (err == nil || !fatal(err)) {
		err = &sessionError{planErr}
	}
	close(stopRecording)
	<-recorded
	return err
}

// resume finds the origin of the next window: it gathers evidence, decides, and applies the decision. A nil origin without an error
// means that the evidence has to be gathered again. freshID is the position whose message needs a message id of its own.
func (r *Relay) resume(ctx context.Context, s *table.Session, last *doubt) (at *origin, freshID int64, err error) {
	var d *decision
	err = r.keepAlive(ctx, s, func() error {
		e, err := r.gather(ctx)
		if err != nil {
			return err
		}
		if d, err = decide(e, &r.mem, &r.cfg); err != nil {
			return err
		}
		if at, err = r.apply(ctx, e, d); err != nil || at == nil {
			return err
		}
		freshID, err = r.resolveDoubt(ctx, last, at)
		return err
	})
	if err == nil && at == nil {
		err = r.adoptUnplanned(ctx, s, d.unplanned)
	}
	return at, freshID, err
}

// credit counts the events that were acknowledged in this term and whose acks were lost: the stream has them.
func (r *Relay) credit(at *origin) {
	found := at.next - 1
	if before := r.stats.position.Load(); before > 0 && found > before {
		r.stats.published.Add(uint64(found - before))
	}
	r.stats.position.Store(found)
	r.stats.sequence.Store(uint64(max(found+at.base, 0)))
}
