// Package demo shows the whole road under load, with the faults it is made for, and then counts.
//
// PostgreSQL's own pgbench is the application: it runs TPC-B and knows nothing of us. A capture trigger on
// pgbench_accounts makes each of its transactions an event; a relay, a process of its own, publishes them; an
// invalidator in this process deletes from Redis what they make stale; readers fill Redis again, with plain GET
// and SETEX. Meanwhile the relay is killed with kill -9 and started again, and the broker is stopped and started
// again, while commits go on.
//
// At the end the whole stream is held against the whole outbox table, and every cached value against its row. The
// report counts what was lost, stored twice, out of order, or stale.
//
// All servers are real (see devstack). One that is given by URL is used as it is and never stopped; then schema,
// stream and keys have names of their own, and are removed.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says what to run. The zero value of a field means its default.
type Config struct {
	// URLs of running servers to use instead of starting them. Empty ones are started.
	PostgresURL, NATSURL, RedisURL string

	Duration time.Duration // of the load, rounded up to seconds. Defaults to 30 s, 6 s to 1 h
	Clients  int           // of pgbench. Defaults to 4, at most 100
	Rate     int           // transactions a second that pgbench aims at. Defaults to 400
	Scale    int           // of pgbench, 100,000 accounts each. Defaults to 1, at most 100
	Readers  int           // goroutines that read through the cache. Defaults to 4, at most 64
	TTL      time.Duration // of a cached value. Defaults to 1 h, at least 1 s

	// Relay is the program with the verb relay. Defaults to this one.
	Relay string
	// Progress receives the live panel if it is a terminal, otherwise a line every 2 s. Defaults to nowhere.
	Progress io.Writer
	// NoColor draws the panel without colours.
	NoColor bool
	// Keep, if set, is called with the report while servers, relay and invalidator still run; all is removed when it
	// returns.
	Keep func(context.Context, *Report, Addresses) error
}

// Addresses say where everything is while it runs.
type Addresses struct{ PostgresURL, NATSURL, RedisURL, Schema, Table, Stream string }

// settleTimeout bounds the wait for everything to be published and consumed once the load has ended.
const settleTimeout = 30 * time.Second

// Run runs the demo and returns what it counted; a promise that was broken is in the report, not an error. When ctx
// ends, everything is stopped and removed, and the error is that of ctx, joined with what could not be removed. See
// [Unavailable].
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("run demo: %w", err)
	}
	s, err := openStage(ctx, &cfg)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("run demo: %w", err)
	}
	defer func() {
		if closeErr := s.close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("clean up demo: %w", closeErr))
		}
	}()
	d := newShow(&cfg, s)
	if err := d.prepare(ctx); err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	} else if err != nil {
		return nil, fmt.Errorf("run demo: %w", err)
	}
	report, err = d.run(ctx)
	switch {
	case report == nil && ctx.Err() != nil:
		return nil, context.Cause(ctx) // whatever failed, that is why
	case err != nil:
		return nil, fmt.Errorf("run demo: %w", err)
	}
	return report, nil
}

// Check says what is wrong with a configuration, before anything is started. Run checks as well.
func (c Config) Check() error { return c.setDefaults() }

func (c *Config) setDefaults() error {
	def(&c.Duration, 30*time.Second)
	c.Duration = (c.Duration + time.Second - 1).Truncate(time.Second)
	def(&c.Clients, 4)
	def(&c.Rate, 400)
	def(&c.Scale, 1)
	def(&c.Readers, 4)
	def(&c.TTL, time.Hour)
	def[io.Writer](&c.Progress, io.Discard)
	switch {
	case c.Duration < 6*time.Second || c.Duration > time.Hour:
		return fmt.Errorf("duration %v: want 6s to 1h", c.Duration)
	case c.Clients < 1 || c.Clients > 100:
		return fmt.Errorf("%d clients: want 1 to 100", c.Clients)
	case c.Rate < 1 || c.Rate > 100_000:
		return fmt.Errorf("rate %d: want 1 to 100000 transactions a second", c.Rate)
	case c.Scale < 1 || c.Scale > 100:
		return fmt.Errorf("scale %d: want 1 to 100", c.Scale)
	case c.Readers < 1 || c.Readers > 64:
		return fmt.Errorf("%d readers: want 1 to 64", c.Readers)
	case c.TTL < time.Second:
		return fmt.Errorf("ttl %v: want at least 1s", c.TTL)
	}
	return nil
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A show is one run: what is on the stage, who acts, and what is counted meanwhile.
type show struct {
	cfg     *Config
	stage   *stage
	board   *board
	app     *app
	relay   *relayChild
	cache   *cache
	evicts  *evictions
	faults  *faults
	watcher *watcher
}

func newShow(cfg *Config, s *stage) *show {
	b := newBoard(cfg.Duration)
	f := &faults{plan: planFaults(cfg.Duration, s.nats), board: b}
	return &show{
		cfg: cfg, stage: s, board: b, faults: f,
		app:     newApp(cfg, s, b),
		relay:   newRelayChild(cfg.Relay, s),
		cache:   newCache(cfg, s),
		evicts:  &evictions{faults: f},
		watcher: &watcher{stage: s, faults: f},
	}
}

// prepare makes the tables of the application and ours, and puts the capture trigger between them.
func (d *show) prepare(ctx context.Context) error {
	fmt.Fprintf(d.cfg.Progress, "pgbench: %d accounts, its own TPC-B, %d clients, %d transactions/s for %v\n",
		d.app.accounts(), d.cfg.Clients, d.cfg.Rate, d.cfg.Duration)
	if err := d.app.init(ctx); err != nil {
		return err
	}
	return d.stage.attach(ctx)
}

// run is the show itself: what runs in the background lives until the end of the audit, and its failure ends
// everything.
func (d *show) run(ctx context.Context) (report *Report, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	background, work := errgroup.WithContext(ctx)
	background.Go(func() error { return d.relay.Run(work) })
	background.Go(func() error { return d.consume(work) })
	shown := make(chan struct{})
	go func() { defer close(shown); newPanel(d).Run(work) }()

	err = d.play(work)
	if err == nil {
		report, err = d.judge(work)
	}
	close(d.board.over)
	<-shown
	if err == nil && d.cfg.Keep != nil {
		err = d.cfg.Keep(work, report, d.stage.addresses())
	}
	cancel()
	if backgroundErr := background.Wait(); backgroundErr != nil {
		return nil, backgroundErr // what failed in the foreground failed because of it
	}
	return report, err
}

// consume runs what needs the stream, from the moment it is there.
func (d *show) consume(ctx context.Context) error {
	if err := d.stage.awaitStream(ctx); err != nil {
		return quiet(ctx, err)
	}
	invalidator, err := newInvalidator(d.stage, d.evicts.observe)
	if err != nil {
		return err
	}
	d.evicts.stats.Store(invalidator)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return invalidator.Run(ctx) })
	group.Go(func() error { return d.watcher.Run(ctx) })
	group.Go(func() error { return newGauge(d).Run(ctx) })
	return group.Wait()
}

// play runs load, readers and faults, and waits until all of it has arrived.
func (d *show) play(ctx context.Context) error {
	if err := d.stage.awaitStream(ctx); err != nil {
		return err
	}
	d.board.begin()
	group, playing := errgroup.WithContext(ctx)
	reading, stopReading := context.WithCancel(playing)
	group.Go(func() error {
		defer stopReading()
		return d.app.Run(playing)
	})
	group.Go(func() error { return d.cache.Run(reading) })
	group.Go(func() error { return d.faults.Run(playing, d.relay, d.stage.nats) })
	if err := group.Wait(); err != nil {
		return err
	}
	d.board.enter("load ended: the rest is published and consumed")
	return d.settle(ctx)
}

// quiet turns the error of what was cut short by the end of ctx into none.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
