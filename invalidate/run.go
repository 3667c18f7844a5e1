package invalidate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// Run consumes until ctx ends, then finishes what it has in hand within Config.Grace and returns nil. It
// waits out every outage of NATS and Redis; it returns an error only if it cannot go on: the server refuses
// a consumer at the start, or the connection to NATS was closed for good.
func (v *Invalidator) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := v.generation(ctx); err != nil {
			return fmt.Errorf("run invalidator: %w", err)
		}
	}
	return nil
}

// errReloaded ends a generation.
var errReloaded = errors.New("there are other rules")

// generation runs the lanes of the rules of now until ctx ends, there are other rules, or one lane cannot go on.
func (v *Invalidator) generation(ctx context.Context) error {
	group, work := errgroup.WithContext(ctx)
	graceful, cancel := withGrace(work, v.cfg.Grace)
	defer cancel()
	group.Go(func() error { v.clock.run(work); return nil })
	group.Go(func() error { v.watchPauses(work); return nil })
	for _, l := range v.lanes {
		group.Go(func() error { return l.run(work, graceful) })
	}
	for _, a := range v.audits {
		group.Go(func() error { return a.run(work, graceful) })
	}
	if len(v.audits) > 0 {
		group.Go(func() error { v.bulletin.run(work, v.auditRecords()); return nil })
	}
	if v.failover.window > 0 {
		group.Go(func() error { v.failover.run(work, graceful); return nil })
	}
	group.Go(func() error {
		select {
		case set := <-v.reload:
			v.next = set
			return errReloaded
		case <-work.Done():
			return nil
		}
	})
	err := group.Wait()
	v.bulletin.last(graceful, v.auditRecords())
	if errors.Is(err, errReloaded) {
		v.adopt(v.next)
		err = nil
	}
	return err
}

// Reload has Run go on with other rules, once what it has in hand is done: events that are in the stream by then and were
// not worked off are resolved by the new ones. A delay that no rule had so far begins with the events of the recent
// past. It returns when Run has taken the rules over, or with the error of ctx.
func (v *Invalidator) Reload(ctx context.Context, set *rules.Set) error {
	if set == nil {
		return errors.New("reload: no rules")
	}
	select {
	case v.reload <- set:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reload: %w", ctx.Err())
	}
}

// withGrace returns a context that ends grace after ctx does.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	graceful, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = wait(graceful, grace)
		cancel()
	})
	return graceful, func() { stop(); cancel() }
}
