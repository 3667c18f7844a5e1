package faults

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// steadyLoad is a group of writers with a constant rate, and of long transactions. No transaction rolls back: a
// rollback leaves dead tuples in any table.
type steadyLoad struct {
	group         errgroup.Group
	committed     atomic.Int64     // events
	short         maxDuration      // inserts of the writers
	long          maxDuration      // inserts of the long transactions that write to the outbox
	control       maxDuration      // updates of the account by all of them, which show how slow the machine is
	committedLong [2]atomic.Int64  // long transactions: those that wrote to the outbox, and those that held a snapshot
	report        [2]time.Duration // start and end of the transaction that is longer than the retention
}

// maxDuration is the longest measured duration: of all, and since the last call of take. It is safe for concurrent use.
type maxDuration struct{ all, recent atomic.Int64 }

// time measures the duration of do.
func (s *maxDuration) time(do func() error) error {
	began := time.Now()
	err := do()
	took := int64(time.Since(began))
	for _, most := range []*atomic.Int64{&s.all, &s.recent} {
		for old := most.Load(); took > old && !most.CompareAndSwap(old, took); old = most.Load() {
		}
	}
	return err
}

// most returns the longest duration of all.
func (s *maxDuration) most() time.Duration { return time.Duration(s.all.Load()) }

// take returns the longest duration since the last call of take.
func (s *maxDuration) take() time.Duration { return time.Duration(s.recent.Swap(0)) }

// startWriters starts the load, which ends with ctx. Open long transactions then commit.
func (rs *retentionSoak) startWriters(ctx context.Context) {
	l := &rs.load
	for i := range rs.writers {
		l.group.Go(func() error { return rs.writer(ctx, i) })
	}
	l.group.Go(func() error {
		business := keyState{name: "business", account: rs.writers}
		for ctx.Err() == nil {
			if err := rs.longWriter(ctx, &business, rs.retention/2, false); err != nil {
				return err
			}
			l.committedLong[0].Add(1)
			pause(ctx, rs.retention/4)
		}
		return nil
	})
	l.group.Go(func() error {
		for ctx.Err() == nil {
			if err := rs.longReader(ctx, 2*rs.retention); err != nil {
				return err
			}
			l.committedLong[1].Add(1)
			pause(ctx, rs.retention/4)
		}
		return nil
	})
	l.group.Go(func() error { // in the first half of the run, because sizes are checked in the second half
		pause(ctx, rs.length/5)
		l.report[0] = time.Since(rs.began)
		err := rs.longWriter(ctx, &keyState{name: "report", account: rs.writers + 1}, 5*rs.retention/2, true)
		l.report[1] = time.Since(rs.began)
		return err
	})
}

// writer commits transactions at its share of the rate. If it falls behind, it catches up, but by at most 5s of work.
func (rs *retentionSoak) writer(ctx context.Context, i int) error {
	work := context.WithoutCancel(ctx)
	conn, err := rs.connect(work, shortName)
	if err != nil {
		return err
	}
	defer conn.Close(work) //nolint:errcheck // the connection is closed in either case
	every := time.Second * time.Duration(rs.batch*rs.writers) / time.Duration(rs.rate)
	name, n := fmt.Sprintf("writer%d", i), int64(0)
	for due := time.Now(); ctx.Err() == nil; due = due.Add(every) {
		if excess := time.Since(due) - 5*time.Second; excess > 0 {
			due = due.Add(excess)
		}
		pause(ctx, time.Until(due))
		err := pgx.BeginFunc(work, conn, func(tx pgx.Tx) error {
			return rs.change(work, tx, &rs.load.short, name, i, n, rs.batch)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n += int64(rs.batch)
		rs.load.committed.Add(int64(rs.batch))
	}
	return nil
}

var padding = strings.Repeat("x", 200)

// change updates an account and inserts events with the numbers that follow n.
func (rs *retentionSoak) change(ctx context.Context, tx pgx.Tx, took *maxDuration, name string, account int, n int64, events int) error {
	err := rs.load.control.time(func() error {
		_, err := tx.Exec(ctx, rs.s.table.SQL("UPDATE outbox.account SET version = version + 1 WHERE key = $1"), account)
		return err
	})
	if err != nil {
		return err
	}
	all := make([]event.Event, events)
	for i := range all {
		all[i] = event.Event{Subject: rs.s.stream + "." + name, Key: name, Payload: fmt.Appendf(nil, "%d %s", n+1+int64(i), padding)}
	}
	return took.time(func() error {
		_, err := rs.s.table.Insert(ctx, tx, all...)
		return err
	})
}

// keyState is the state of a writer that uses one key and one account. The writer's goroutine owns it.
type keyState struct {
	name    string
	account int
	n       int64 // events committed
}

// longWriter runs one transaction that writes to the outbox for a long time. If reads is set, it first reads all
// events.
func (rs *retentionSoak) longWriter(ctx context.Context, k *keyState, length time.Duration, reads bool) error {
	n := int64(0)
	err := rs.inOwnSession(ctx, pgx.TxOptions{}, func(work context.Context, tx pgx.Tx) error {
		if reads {
			var rows int64
			if err := tx.QueryRow(work, rs.s.table.SQL("SELECT count(*) FROM outbox.event")).Scan(&rows); err != nil {
				return err
			}
		}
		for began := time.Now(); ctx.Err() == nil && time.Since(began) < length; n++ {
			if err := rs.change(work, tx, &rs.load.long, k.name, k.account, k.n+n, 1); err != nil {
				return err
			}
			pause(ctx, 100*time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	k.n += n
	rs.load.committed.Add(n)
	return nil
}

// longReader runs one transaction that reads another table for a long time. Its snapshot prevents every vacuum from
// removing dead tuples.
func (rs *retentionSoak) longReader(ctx context.Context, length time.Duration) error {
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := rs.inOwnSession(ctx, o, func(work context.Context, tx pgx.Tx) error {
		for began := time.Now(); ctx.Err() == nil && time.Since(began) < length; {
			var sum int64
			if err := tx.QueryRow(work, rs.s.table.SQL("SELECT sum(version) FROM outbox.account")).Scan(&sum); err != nil {
				return err
			}
			pause(ctx, 200*time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("hold a snapshot: %w", err)
	}
	return nil
}

// inOwnSession runs one transaction on its own connection. The end of ctx does not cancel it.
func (rs *retentionSoak) inOwnSession(ctx context.Context, o pgx.TxOptions, do func(context.Context, pgx.Tx) error) error {
	work := context.WithoutCancel(ctx)
	conn, err := rs.connect(work, longName)
	if err != nil {
		return err
	}
	defer conn.Close(work) //nolint:errcheck // the transaction has ended
	return pgx.BeginTxFunc(work, conn, o, func(tx pgx.Tx) error { return do(work, tx) })
}

// The application names of the sessions, which appear in the server's log.
const longName, shortName = "long", "short"

func (rs *retentionSoak) connect(ctx context.Context, name string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(rs.s.databaseURL)
	if err != nil {
		return nil, err
	}
	c.RuntimeParams["application_name"] = name
	return pgx.ConnectConfig(ctx, c)
}
