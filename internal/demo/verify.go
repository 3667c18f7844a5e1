package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// verify compares the stream with the table and the cache with its rows, and returns the report.
func (r *run) verify(ctx context.Context) (*Report, error) {
	took := r.state.elapsed()
	r.state.enter("verifying: stream against table, cache against rows")
	result := &Report{DurationS: seconds(r.cfg.Duration), TookS: seconds(took), Transactions: r.app.committed}
	var toStream, toEvicted delay
	v, err := r.env.verify(ctx, func(ev *event.Event, committed, stored time.Time) {
		toStream.observe(stored.Sub(committed), r.faults.disturbed(ev.CreatedAt, stored))
		if evicted, ok := r.evicts.now.get(ev.Position); ok {
			toEvicted.observe(evicted.Sub(committed), r.faults.disturbed(ev.CreatedAt, evicted))
		}
	})
	if err != nil {
		return nil, err
	}
	result.Committed, result.Published, result.Lost, result.Duplicates, result.Reordered, result.Foreign =
		v.Committed, v.Published, v.Lost, v.Twice, v.Reordered, v.Foreign
	if result.CachedKeys, result.StaleKeys, err = r.env.checkCache(ctx); err != nil {
		return nil, err
	}
	// pgbench writes a row of history for each transaction. A change by zero changes no row and causes no event.
	err = r.env.pool.QueryRow(ctx, "SELECT count(*), count(*) FILTER (WHERE delta = 0) FROM "+r.env.in("pgbench_history")).
		Scan(&result.History, &result.Unchanged)
	if err != nil {
		return nil, fmt.Errorf("read the history of pgbench: %w", err)
	}
	result.Uncaptured = result.History - result.Unchanged - result.Committed
	r.addCounts(result)
	result.CommitToStream, result.CommitToStreamWithFaults = toStream.calm.quantiles(), toStream.all.quantiles()
	result.CommitToEvicted, result.CommitToEvictedWithFaults = toEvicted.calm.quantiles(), toEvicted.all.quantiles()
	result.Versions, err = report.ReadVersions(ctx, r.env.pool, r.env.conn, r.env.rdb)
	return result, err
}

// addCounts adds what the goroutines of the run have counted.
func (r *run) addCounts(result *Report) {
	result.Invalidated, result.Echoed, result.EchoS = r.evicts.events.Load(), r.evicts.echoed.Load(), echoDelay.Seconds()
	result.DeletedKeys, result.EchoDeletedKeys = r.evicts.deleted()
	result.SlowReads, result.StaleFills = r.cache.slow.Load(), r.cache.raced.Load()
	result.Hits, result.Misses = r.cache.hits.Load(), r.cache.misses.Load()
	result.RelayKills, result.BrokerStops, result.CatchUpS = r.faults.kills, r.faults.stops, seconds(r.faults.catchUp)
	result.BrokerStoppedS = seconds(time.Duration(r.faults.stops) * r.faults.plan.stopFor)
	result.TransactionsPerS = float64(int64(10*float64(result.Transactions)/r.cfg.Duration.Seconds())) / 10
	result.brokerGiven = r.faults.plan.stopFor == 0
	r.state.mu.Lock()
	defer r.state.mu.Unlock()
	result.MaxPending = r.state.maxPending
}

// verify compares the whole stream with the whole table. See verify.Stream for seen.
func (e *environment) verify(ctx context.Context, seen func(ev *event.Event, committed, stored time.Time)) (verify.Verdict, error) {
	stream := verify.Stream{Table: e.table, Pool: e.pool, Conn: e.conn, Name: e.stream, Seen: seen}
	return stream.Verify(ctx)
}

func seconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Millisecond).Milliseconds()) / 1000
}
