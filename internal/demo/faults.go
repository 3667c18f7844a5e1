package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// A faultPlan is what the demo breaks, and when. Times count from the beginning of the load.
type faultPlan struct {
	killAt  time.Duration // when it kills the relay
	stopAt  time.Duration // when it stops the broker
	stopFor time.Duration // for how long; 0: the broker was given by URL and is never stopped
}

// planFaults plans one fault at a time: the relay after a quarter of the load, the broker at half of it, for a quarter of the
// load but at least 2 s and at most 5 s.
func planFaults(d time.Duration, broker *devstack.NATS) faultPlan {
	p := faultPlan{killAt: d / 4, stopAt: d / 2}
	if broker.StoreDir() != "" {
		p.stopFor = min(max(d/4, 2*time.Second), 5*time.Second)
	}
	return p
}

// faults breaks things and records when. Only one goroutine may call Run; disturbed is safe for concurrent use.
type faults struct {
	plan  faultPlan
	state *state

	kills, stops int           // how often each was done; valid after Run
	catchUp      time.Duration // from the restart of the broker to the end of its backlog; 0: not while the load ran

	mu      sync.Mutex
	windows []window
}

// A window begins with a fault and ends when every event that waited because of it is published and its keys are deleted.
type window struct{ from, to time.Time } // to is zero while the window is open

// Run executes the plan. It returns nil if ctx ends.
func (f *faults) Run(ctx context.Context, relay *relayProcess, broker *devstack.NATS) error {
	return nilIfEnded(ctx, f.run(ctx, relay, broker))
}

func (f *faults) run(ctx context.Context, relay *relayProcess, broker *devstack.NATS) error {
	if err := f.state.await(ctx, f.plan.killAt); err != nil {
		return err
	}
	if err := f.killRelay(ctx, relay); err != nil {
		return err
	}
	if f.plan.stopFor == 0 {
		f.state.log("the broker was given by URL, so the demo does not stop it")
		return nil
	}
	if err := f.state.await(ctx, f.plan.stopAt); err != nil {
		return err
	}
	return f.stopBroker(ctx, broker)
}

func (f *faults) killRelay(ctx context.Context, relay *relayProcess) error {
	end := f.open()
	f.state.enterBroken("relay killed (kill -9): commits continue")
	f.state.log("kill -9 of the relay, process %d", relay.pid.Load())
	if err := relay.Kill(ctx); err != nil {
		return err
	}
	f.kills++
	began := time.Now()
	f.state.enter("relay restarted: it reads the end of the stream")
	if f.state.awaitPublished(ctx, began) {
		f.state.log("relay restarted as process %d; its backlog was published after %s", relay.pid.Load(), short(time.Since(began)))
	}
	if f.state.awaitEvicted(ctx, began) {
		end()
	}
	f.state.enter("running")
	return ctx.Err()
}

func (f *faults) stopBroker(ctx context.Context, broker *devstack.NATS) error {
	end := f.open()
	f.state.enterBroken("NATS stopped: commits continue, backlog grows")
	f.state.log("stopping NATS for %v", f.plan.stopFor)
	if err := broker.Stop(); err != nil {
		return err
	}
	f.stops++
	err := f.state.await(ctx, f.state.elapsed()+f.plan.stopFor)
	if startErr := broker.Start(); startErr != nil {
		return fmt.Errorf("restart the broker: %w", startErr)
	}
	if err != nil {
		return err
	}
	began, backlog := time.Now(), f.state.pending()
	f.state.enter("NATS restarted: the relay publishes the backlog")
	if f.state.awaitPublished(ctx, began) {
		f.catchUp = time.Since(began)
		f.state.log("NATS restarted; a backlog of %s events was published after %s", thousands(backlog), short(f.catchUp))
	}
	if f.state.awaitEvicted(ctx, began) {
		end()
		f.state.log("the keys of these events were deleted after %s", short(time.Since(began)))
	}
	f.state.enter("running")
	return ctx.Err()
}

// open opens a window and returns a function that closes it.
func (f *faults) open() (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.windows)
	f.windows = append(f.windows, window{from: time.Now()})
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.windows[n].to = time.Now()
	}
}

// disturbed reports whether the way of an event, between two times, overlaps a window.
func (f *faults) disturbed(from, to time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.windows {
		if !to.Before(w.from) && (w.to.IsZero() || from.Before(w.to)) {
			return true
		}
	}
	return false
}
