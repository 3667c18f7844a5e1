package invalidate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// Run consumes the stream until ctx ends, then finishes the messages in hand within Config.Grace and returns nil. It
// waits for the end of every outage of NATS and Redis. It returns an error only if it cannot continue: the server
// rejected a consumer at the start, or the NATS connection was closed.
func (v *Invalidator) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := v.runRules(ctx); err != nil {
			return fmt.Errorf("run invalidator: %w", err)
		}
	}
	return nil
}

// errReloaded ends runRules because Reload supplied other rules.
var errReloaded = errors.New("rules reloaded")

// runRules runs all consumers with the current rules. It returns when ctx ends, when Reload supplies other rules, or
// with the error of a consumer that cannot continue.
func (v *Invalidator) runRules(ctx context.Context) error {
	group, work := errgroup.WithContext(ctx)
	graceful, cancel := withGrace(work, v.cfg.Grace)
	defer cancel()
	group.Go(func() error { v.clock.run(work); return nil })
	group.Go(func() error { v.watchPauses(work); return nil })
	for _, c := range v.consumers {
		group.Go(func() error { return c.run(work, graceful) })
	}
	for _, s := range v.checks {
		group.Go(func() error { return s.run(work, graceful) })
	}
	if len(v.checks) > 0 {
		group.Go(func() error { v.publisher.run(work, v.stalenessRecords()); return nil })
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
	v.publisher.flush(graceful, v.stalenessRecords())
	if errors.Is(err, errReloaded) {
		v.useRules(v.next)
		err = nil
	}
	return err
}

// Reload makes Run use other rules after it has finished the messages in hand. Events that are in the stream but not
// processed by then are resolved by the new rules. An echo delay that no previous rule had starts with the events of
// the recent past. Reload returns nil when Run has accepted the rules, or the error of ctx.
func (v *Invalidator) Reload(ctx context.Context, set *rules.Set) error {
	if set == nil {
		return errors.New("reload: missing rules")
	}
	select {
	case v.reload <- set:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("reload: %w", ctx.Err())
	}
}

// withGrace returns a context that ends grace after ctx has ended.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	graceful, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = wait.For(graceful, grace)
		cancel()
	})
	return graceful, func() { stop(); cancel() }
}
