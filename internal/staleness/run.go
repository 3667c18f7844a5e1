package staleness

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// Run runs one arm on servers of its own and returns its result. Whether the arm passed is reported by [Result.Err].
func Run(ctx context.Context, arm Arm, cfg Config) (_ *Result, err error) {
	if arm.Control {
		cfg.Duration /= 2
	}
	load := report.LoadAverage()
	e, err := openEnvironment(ctx, arm, &cfg)
	if err != nil {
		return nil, fmt.Errorf("arm %s: %w", arm.Name, err)
	}
	defer func() { err = errors.Join(err, e.close()) }()
	e.loadBefore = load
	r, err := e.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("arm %s: %w", arm.Name, err)
	}
	return r, nil
}

func (e *environment) run(ctx context.Context) (*Result, error) {
	c := clock{time.Now()}
	ledger := NewLedger(e.cfg.Rows)
	oracle := NewOracle(ledger)
	w := &writers{env: e, ledger: ledger, clock: c}
	rd, err := newReaders(e, oracle, c)
	if err != nil {
		return nil, err
	}
	var windows []Window
	load, stop := context.WithTimeout(ctx, e.cfg.Duration)
	defer stop()
	group, load := errgroup.WithContext(load)
	group.Go(func() error { return w.run(load) })
	group.Go(func() error { return rd.run(load) })
	group.Go(func() (err error) { windows, err = e.injectFaults(load, c); return err })
	group.Go(func() error { e.progress(load, c, w, rd); return nil })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	took := c.now()
	if err := e.quiesce(ctx, w.updates.Load()); err != nil {
		return nil, err
	}
	cached, stuck, err := e.compare(ctx, e.rdb)
	if err != nil {
		return nil, err
	}
	r := e.result(took, w, rd)
	r.evaluate(oracle, e.arm.Bound+e.cfg.Slack, windows)
	r.Cached, r.Stuck, r.StuckKeys = cached, len(stuck), stuck[:min(len(stuck), 10)]
	v, err := report.ReadVersions(ctx, e.pool, e.conn, e.rdb)
	if err != nil {
		return nil, err
	}
	r.Versions = fmt.Sprintf("PostgreSQL %s (fsync off), NATS %s, Redis %s, %s", v.Postgres, v.NATS, v.Redis, runtime.Version())
	r.StuckPerMillion, r.StuckUpper = share(r.Stuck, r.Invalidations), 1e6*upper95(r.Stuck, r.Invalidations)
	return r, nil
}

// progress logs the progress of the load every ten seconds.
func (e *environment) progress(ctx context.Context, c clock, w *writers, rd *readers) {
	for wait.For(ctx, 10*time.Second) == nil {
		fmt.Fprintf(e.cfg.Log, "    %5.1fs %d updates, %d reads\n", c.now().Seconds(), w.updates.Load(), rd.reads.Load())
	}
}

// quiesce waits until every event is published and every consumer has processed its last one; the echo does so after its
// delay.
func (e *environment) quiesce(ctx context.Context, updates int64) error {
	if e.arm.Method != byEvents {
		return nil
	}
	within := repairTimeout + e.arm.Echo
	err := await(ctx, within, "the last event in the stream", func(ctx context.Context) error {
		status, err := e.table.Status(ctx, e.pool, stream)
		if err == nil && status.Pending != 0 {
			err = fmt.Errorf("%d pending", status.Pending)
		}
		return err
	})
	if err != nil {
		return errors.Join(err, e.relay.checkRunning())
	}
	err = await(ctx, within, "the last delete", func(ctx context.Context) error {
		str, err := e.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if n := str.CachedInfo().State.Msgs; n < uint64(updates) { // #nosec G115 -- positive
			return fmt.Errorf("the stream has %d messages, want %d", n, updates)
		}
		consumers := 0
		list := str.ListConsumers(ctx)
		for info := range list.Info() {
			consumers++
			if info.NumPending+uint64(info.NumAckPending) > 0 { // #nosec G115 -- positive
				err = fmt.Errorf("%s has %d pending, %d not acknowledged", info.Name, info.NumPending, info.NumAckPending)
			}
		}
		if err == nil && list.Err() == nil && consumers != e.arm.consumers() {
			err = fmt.Errorf("%d consumers, want %d", consumers, e.arm.consumers())
		}
		return errors.Join(err, list.Err())
	})
	if err != nil {
		return errors.Join(err, e.invalidator.checkRunning())
	}
	return nil
}
