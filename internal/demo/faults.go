package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// A faultPlan says what is broken when, counted from the begin of the load.
type faultPlan struct {
	killAt  time.Duration // kill -9 of the relay
	stopAt  time.Duration // the broker stops …
	stopFor time.Duration // … for so long; 0: it is not ours to stop
}

// planFaults breaks one thing at a time: the relay after a quarter, the broker in the middle for five seconds, or for
// a quarter of a short run, but at least two.
func planFaults(d time.Duration, broker *devstack.NATS) faultPlan {
	p := faultPlan{killAt: d / 4, stopAt: d / 2}
	if broker.StoreDir() != "" {
		p.stopFor = min(max(d/4, 2*time.Second), 5*time.Second)
	}
	return p
}

// faults breaks things and knows when they were broken. Run belongs to one goroutine, disturbed is for all.
type faults struct {
	plan  faultPlan
	board *board

	kills, stops int           // done; read after Run
	catchUp      time.Duration // from the start of the broker to the end of the backlog; 0: it did not end under load

	mu      sync.Mutex
	windows []window
}

// A window is a time in which something was broken, until all that waited because of it was published and evicted.
type window struct{ from, to time.Time } // to is zero while it is open

func (f *faults) Run(ctx context.Context, relay *relayChild, broker *devstack.NATS) error {
	if err := f.board.await(ctx, f.plan.killAt); err != nil {
		return quiet(ctx, err)
	}
	if err := f.kill(ctx, relay); err != nil {
		return quiet(ctx, err)
	}
	if f.plan.stopFor == 0 {
		f.board.say("the broker was given by URL and is not ours to stop")
		return nil
	}
	if err := f.board.await(ctx, f.plan.stopAt); err != nil {
		return quiet(ctx, err)
	}
	return quiet(ctx, f.stop(ctx, broker))
}

func (f *faults) kill(ctx context.Context, relay *relayChild) error {
	end := f.open()
	f.board.break_("relay killed (kill -9): commits go on")
	pid := relay.pid.Load()
	f.board.say("kill -9 of the relay, process %d", pid)
	if err := relay.Kill(ctx); err != nil {
		return err
	}
	f.kills++
	began := time.Now()
	f.board.enter("relay started again: it reads the stream's end")
	if f.board.awaitCaughtUp(ctx, began, false) {
		f.board.say("relay started again as process %d; nothing pending after %s", relay.pid.Load(), short(time.Since(began)))
	}
	if f.board.awaitCaughtUp(ctx, began, true) {
		end()
	}
	f.board.enter("running")
	return ctx.Err()
}

func (f *faults) stop(ctx context.Context, broker *devstack.NATS) error {
	end := f.open()
	f.board.break_("NATS stopped: commits go on, the backlog grows")
	f.board.say("NATS stops for %v", f.plan.stopFor)
	if err := broker.Stop(); err != nil {
		return err
	}
	f.stops++
	err := f.board.await(ctx, f.board.elapsed()+f.plan.stopFor)
	if startErr := broker.Start(); startErr != nil {
		return fmt.Errorf("start the broker again: %w", startErr)
	}
	if err != nil {
		return err
	}
	began, backlog := time.Now(), f.board.pending()
	f.board.enter("NATS started again: the relay catches up")
	if f.board.awaitCaughtUp(ctx, began, false) {
		f.catchUp = time.Since(began)
		f.board.say("NATS started again; backlog of %s published after %s", thousands(backlog), short(f.catchUp))
	}
	if f.board.awaitCaughtUp(ctx, began, true) {
		end()
		f.board.say("the cache has caught up too, after %s", short(time.Since(began)))
	}
	f.board.enter("running")
	return ctx.Err()
}

// open begins a window and returns what ends it.
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

// disturbed says whether something was broken while an event was under way.
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
