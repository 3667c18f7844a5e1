package demo

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// settleTimeout bounds how long the demo waits, after the load, until everything is published and consumed.
const settleTimeout = 30 * time.Second

// A run is one execution of the demo: its servers, the goroutines that act on them, and the state that they share.
type run struct {
	cfg     *Config
	env     *environment
	state   *state
	app     *app
	relay   *relayProcess
	cache   *cache
	evicts  *evictions
	faults  *faults
	watcher *watcher
}

func newRun(cfg *Config, env *environment) *run {
	s := newState(cfg.Duration)
	f := &faults{plan: planFaults(cfg.Duration, env.nats), state: s}
	return &run{
		cfg: cfg, env: env, state: s, faults: f,
		app:     &app{cfg: cfg, env: env},
		relay:   newRelayProcess(cfg.Relay, env),
		cache:   newCache(cfg, env),
		evicts:  &evictions{faults: f},
		watcher: &watcher{env: env, faults: f},
	}
}

// prepare creates the tables of the application and the outbox, and attaches the capture trigger.
func (r *run) prepare(ctx context.Context) error {
	fmt.Fprintf(r.cfg.Progress, "pgbench: TPC-B on %d accounts, %d clients, %d transactions/s for %v\n",
		r.app.accounts(), r.cfg.Clients, r.cfg.Rate, r.cfg.Duration)
	if err := r.app.init(ctx); err != nil {
		return err
	}
	return r.env.attach(ctx)
}

// execute runs the load and compares the results. The relay and the consumers run in the background until the report is
// complete; if one of them fails, execute fails.
func (r *run) execute(ctx context.Context) (report *Report, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	background, work := errgroup.WithContext(ctx)
	background.Go(func() error { return r.relay.Run(work) })
	background.Go(func() error { return r.consume(work) })
	panelEnded := make(chan struct{})
	go func() { defer close(panelEnded); newPanel(r).Run(work) }()

	err = r.load(work)
	if err == nil {
		report, err = r.verify(work)
	}
	close(r.state.over)
	<-panelEnded
	if err == nil && r.cfg.Keep != nil {
		err = r.cfg.Keep(work, report, r.env.addresses())
	}
	cancel()
	if backgroundErr := background.Wait(); backgroundErr != nil {
		return nil, backgroundErr // the reason for any error in the foreground
	}
	return report, err
}

// consume runs everything that needs the stream, as soon as the relay has created it.
func (r *run) consume(ctx context.Context) error {
	if err := r.env.awaitStream(ctx); err != nil {
		return nilIfEnded(ctx, err)
	}
	invalidator, err := newInvalidator(r.env, r.evicts.observe)
	if err != nil {
		return err
	}
	r.evicts.invalidator.Store(invalidator)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return invalidator.Run(ctx) })
	group.Go(func() error { return r.watcher.Run(ctx) })
	group.Go(func() error { return (&sampler{run: r}).Run(ctx) })
	return group.Wait()
}

// load runs the application, the readers and the faults, and waits until every event is published and consumed.
func (r *run) load(ctx context.Context) error {
	if err := r.env.awaitStream(ctx); err != nil {
		return err
	}
	r.state.begin()
	group, loading := errgroup.WithContext(ctx)
	reading, stopReading := context.WithCancel(loading)
	group.Go(func() error {
		defer stopReading()
		return r.app.Run(loading)
	})
	group.Go(func() error { return r.cache.Run(reading) })
	group.Go(func() error { return r.faults.Run(loading, r.relay, r.env.nats) })
	if err := group.Wait(); err != nil {
		return err
	}
	r.state.enter("load ended: the rest is published and consumed")
	return r.settle(ctx)
}

// settle waits until every committed event is published and consumed, by the echo as well. After settleTimeout it returns
// nil: the report then counts what is missing.
func (r *run) settle(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	err := wait.Until(bounded, 20*time.Millisecond, func() (bool, error) {
		var committed int64
		err := r.env.pool.QueryRow(bounded, r.env.table.SQL("SELECT count(*) FROM outbox.event")).Scan(&committed)
		if err != nil {
			return false, fmt.Errorf("count events: %w", err)
		}
		published, ok := r.env.published(bounded)
		return ok && published >= committed && r.evicts.events.Load() >= committed && r.evicts.echoed.Load() >= committed, nil
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case bounded.Err() != nil:
		r.state.log("not everything was published and consumed within %v; the report counts what is missing", settleTimeout)
		return nil
	}
	return err
}

// nilIfEnded returns nil if ctx has ended, which explains the error, otherwise err.
func nilIfEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
