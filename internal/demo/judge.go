package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/verify"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// settle waits until everything that was committed is published and consumed, by the echo too, no longer than settleTimeout. What is
// missing then is for the audit to say.
func (d *show) settle(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	err := poll(bounded, 20*time.Millisecond, func() (bool, error) {
		var committed int64
		err := d.stage.pool.QueryRow(bounded, d.stage.table.SQL("SELECT count(*) FROM outbox.event")).Scan(&committed)
		if err != nil {
			return false, fmt.Errorf("count events: %w", err)
		}
		published, ok := d.stage.published(bounded)
		return ok && published >= committed && d.evicts.events.Load() >= committed && d.evicts.echoed.Load() >= committed, nil
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case bounded.Err() != nil:
		d.board.say("not everything arrived within %v: the audit says what is missing", settleTimeout)
		return nil
	}
	return err
}

// judge counts what the promises are worth.
func (d *show) judge(ctx context.Context) (*Report, error) {
	took := d.board.elapsed()
	d.board.enter("audit: stream against table, cache against rows")
	r := &Report{DurationS: seconds(d.cfg.Duration), TookS: seconds(took), Transactions: d.app.committed}
	var toStream, toEvicted delay
	v, err := d.stage.verify(ctx, func(ev *event.Event, committed, stored time.Time) {
		toStream.observe(stored.Sub(committed), d.faults.disturbed(ev.CreatedAt, stored))
		if evicted, ok := d.evicts.done(ev.Position); ok {
			toEvicted.observe(evicted.Sub(committed), d.faults.disturbed(ev.CreatedAt, evicted))
		}
	})
	if err != nil {
		return nil, err
	}
	r.Committed, r.Published, r.Lost, r.Duplicates, r.Reordered, r.Foreign =
		v.Committed, v.Published, v.Lost, v.Twice, v.Reordered, v.Foreign
	if r.CachedKeys, r.StaleKeys, err = d.stage.auditCache(ctx); err != nil {
		return nil, err
	}
	// What pgbench wrote down itself: a change by zero changes nothing, and is no event.
	err = d.stage.pool.QueryRow(ctx, "SELECT count(*), count(*) FILTER (WHERE delta = 0) FROM "+d.stage.in("pgbench_history")).
		Scan(&r.History, &r.Unchanged)
	if err != nil {
		return nil, fmt.Errorf("read the history of pgbench: %w", err)
	}
	r.Uncaptured = r.History - r.Unchanged - r.Committed
	r.Invalidated, r.Echoed, r.EchoS = d.evicts.events.Load(), d.evicts.echoed.Load(), echoDelay.Seconds()
	r.DeletedKeys, r.EchoDeletedKeys = d.evicts.deleted()
	r.SlowReads, r.StaleFills = d.cache.slow.Load(), d.cache.raced.Load()
	r.Hits, r.Misses = d.cache.hits.Load(), d.cache.misses.Load()
	r.RelayKills, r.BrokerStops, r.CatchUpS = d.faults.kills, d.faults.stops, seconds(d.faults.catchUp)
	r.BrokerStoppedS = seconds(time.Duration(d.faults.stops) * d.faults.plan.stopFor)
	r.TransactionsPerS = float64(int64(10*float64(r.Transactions)/d.cfg.Duration.Seconds())) / 10
	r.CommitToStream, r.CommitToStreamWithFaults = toStream.calm.quantiles(), toStream.all.quantiles()
	r.CommitToEvicted, r.CommitToEvictedWithFaults = toEvicted.calm.quantiles(), toEvicted.all.quantiles()
	d.board.mu.Lock()
	r.MaxPending = d.board.maxPending
	d.board.mu.Unlock()
	r.brokerGiven = d.faults.plan.stopFor == 0
	r.Versions, err = d.stage.versions(ctx)
	return r, err
}

// verify holds the whole stream against the whole table; see verify.Stream for seen.
func (s *stage) verify(ctx context.Context, seen func(e *event.Event, committed, stored time.Time)) (verify.Verdict, error) {
	stream := verify.Stream{Table: s.table, Pool: s.pool, Conn: s.conn, Name: s.stream, Seen: seen}
	return stream.Verify(ctx)
}

func seconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Millisecond).Milliseconds()) / 1000
}
