package staleness

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Run plays one arm on servers of its own and returns what it found. It does not judge: see [Result.Err].
func Run(ctx context.Context, arm Arm, cfg Config) (_ *Result, err error) {
	if arm.Control {
		cfg.Duration /= 2
	}
	busy := loadAverage()
	s, err := openStage(ctx, arm, &cfg)
	if err != nil {
		return nil, fmt.Errorf("arm %s: %w", arm.Name, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.busy = busy
	r, err := s.play(ctx)
	if err != nil {
		return nil, fmt.Errorf("arm %s: %w", arm.Name, err)
	}
	return r, nil
}

func (s *stage) play(ctx context.Context) (*Result, error) {
	c := clock{time.Now()}
	ledger := NewLedger(s.cfg.Rows)
	oracle := NewOracle(ledger)
	w := &writers{s: s, ledger: ledger, clock: c}
	rd, err := newReaders(s, oracle, c)
	if err != nil {
		return nil, err
	}
	var windows []Window
	load, stop := context.WithTimeout(ctx, s.cfg.Duration)
	defer stop()
	group, load := errgroup.WithContext(load)
	group.Go(func() error { return w.run(load) })
	group.Go(func() error { return rd.run(load) })
	group.Go(func() (err error) { windows, err = s.faults(load, c); return err })
	group.Go(func() error { s.progress(load, c, w, rd); return nil })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	took := c.now()
	if err := s.quiesce(ctx, w.updates.Load()); err != nil {
		return nil, err
	}
	cached, stuck, err := s.compare(ctx, s.rdb)
	if err != nil {
		return nil, err
	}
	r := s.result(took, w, rd)
	r.judge(oracle, s.arm.Bound+s.cfg.Slack, windows)
	r.Cached, r.Stuck, r.StuckKeys = cached, len(stuck), stuck[:min(len(stuck), 10)]
	if r.Versions, err = s.versions(ctx); err != nil {
		return nil, err
	}
	r.StuckPerMillion, r.StuckUpper = share(r.Stuck, r.Invalidations), 1e6*upper95(r.Stuck, r.Invalidations)
	return r, nil
}

// progress says every ten seconds how far the load is.
func (s *stage) progress(ctx context.Context, c clock, w *writers, rd *readers) {
	for rest(ctx, 10*time.Second) {
		fmt.Fprintf(s.cfg.Log, "    %5.1fs %d updates, %d reads\n", c.now().Seconds(), w.updates.Load(), rd.reads.Load())
	}
}

// quiesce waits until every event is published and every consumer has done its last one, which the echo does D after it
// came into the stream.
func (s *stage) quiesce(ctx context.Context, updates int64) error {
	if s.arm.Method != byEvents {
		return nil
	}
	within := healWithin + s.arm.Echo
	err := await(ctx, within, "everything published", func(ctx context.Context) error {
		status, err := s.table.Status(ctx, s.pool, stream)
		if err == nil && status.Pending != 0 {
			err = fmt.Errorf("%d pending", status.Pending)
		}
		return err
	})
	if err != nil {
		return errors.Join(err, s.relay.ended())
	}
	err = await(ctx, within, "everything deleted", func(ctx context.Context) error {
		str, err := s.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if n := str.CachedInfo().State.Msgs; n < uint64(updates) { // #nosec G115 -- positive
			return fmt.Errorf("the stream has %d messages of %d updates", n, updates)
		}
		lanes := 0
		list := str.ListConsumers(ctx)
		for info := range list.Info() {
			lanes++
			if info.NumPending+uint64(info.NumAckPending) > 0 { // #nosec G115 -- positive
				err = fmt.Errorf("%s has %d pending, %d not acknowledged", info.Name, info.NumPending, info.NumAckPending)
			}
		}
		if err == nil && list.Err() == nil && lanes != s.arm.lanes() {
			err = fmt.Errorf("%d consumers, want %d", lanes, s.arm.lanes())
		}
		return errors.Join(err, list.Err())
	})
	if err != nil {
		return errors.Join(err, s.invalidator.ended())
	}
	return nil
}

// versions are those of the servers.
func (s *stage) versions(ctx context.Context) (string, error) {
	var postgres string
	if err := s.pool.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&postgres); err != nil {
		return "", fmt.Errorf("ask postgres for its version: %w", err)
	}
	info, err := s.rdb.Info(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("ask redis for its version: %w", err)
	}
	_, rest, _ := strings.Cut(info, "redis_version:")
	redis, _, _ := strings.Cut(rest, "\r\n")
	return fmt.Sprintf("PostgreSQL %s (fsync off), NATS %s, Redis %s, %s", postgres, s.conn.ConnectedServerVersion(), redis, runtime.Version()), nil
}
