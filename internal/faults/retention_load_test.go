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

// steady is writers that keep a rate, and long transactions beside them. None rolls back: that leaves dead tuples, as in any table.
type steady struct {
	group     errgroup.Group
	committed atomic.Int64     // events
	short     slowest          // statements of the writers
	long      slowest          // of transactions that have written to the outbox and stay open
	control   slowest          // of all of them on the account: how slow the machine is
	opened    [2]atomic.Int64  // long transactions that were committed: that wrote to the outbox, that held a snapshot
	report    [2]time.Duration // when the one that is longer than the retention began and ended
}

// slowest is the longest of what is noted.
type slowest struct{ all, recent atomic.Int64 }

func (s *slowest) time(do func() error) error {
	began := time.Now()
	err := do()
	took := int64(time.Since(began))
	for _, most := range []*atomic.Int64{&s.all, &s.recent} {
		for old := most.Load(); took > old && !most.CompareAndSwap(old, took); old = most.Load() {
		}
	}
	return err
}

func (s *slowest) most() time.Duration { return time.Duration(s.all.Load()) }

// take is the longest since it was taken last.
func (s *slowest) take() time.Duration { return time.Duration(s.recent.Swap(0)) }

// write starts the load; it ends with ctx, long transactions commit then.
func (u *turnover) write(ctx context.Context) {
	l := &u.load
	for i := range u.writers {
		l.group.Go(func() error { return u.writer(ctx, i) })
	}
	l.group.Go(func() error {
		business := line{name: "business", account: u.writers}
		for ctx.Err() == nil {
			if err := u.business(ctx, &business, u.keep/2, false); err != nil {
				return err
			}
			l.opened[0].Add(1)
			pause(ctx, u.keep/4)
		}
		return nil
	})
	l.group.Go(func() error {
		for ctx.Err() == nil {
			if err := u.snapshot(ctx, 2*u.keep); err != nil {
				return err
			}
			l.opened[1].Add(1)
			pause(ctx, u.keep/4)
		}
		return nil
	})
	l.group.Go(func() error { // in the first half: the second shows sizes
		pause(ctx, u.length/5)
		l.report[0] = time.Since(u.began)
		err := u.business(ctx, &line{name: "report", account: u.writers + 1}, 5*u.keep/2, true)
		l.report[1] = time.Since(u.began)
		return err
	})
}

// writer commits transactions at its share of the rate. What it is behind it catches up with, up to a few seconds.
func (u *turnover) writer(ctx context.Context, i int) error {
	work := context.WithoutCancel(ctx)
	conn, err := u.connect(work, shortName)
	if err != nil {
		return err
	}
	defer conn.Close(work) //nolint:errcheck // the test ends
	every := time.Second * time.Duration(u.events*u.writers) / time.Duration(u.rate)
	name, n := fmt.Sprintf("writer%d", i), int64(0)
	for due := time.Now(); ctx.Err() == nil; due = due.Add(every) {
		if behind := time.Since(due) - 5*time.Second; behind > 0 {
			due = due.Add(behind)
		}
		pause(ctx, time.Until(due))
		err := pgx.BeginFunc(work, conn, func(tx pgx.Tx) error {
			return u.change(work, tx, &u.load.short, name, i, n, u.events)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n += int64(u.events)
		u.load.committed.Add(int64(u.events))
	}
	return nil
}

var padding = strings.Repeat("x", 200)

// change changes an account, and inserts events with the numbers after n.
func (u *turnover) change(ctx context.Context, tx pgx.Tx, took *slowest, name string, account int, n int64, events int) error {
	err := u.load.control.time(func() error {
		_, err := tx.Exec(ctx, u.s.table.SQL("UPDATE outbox.account SET version = version + 1 WHERE key = $1"), account)
		return err
	})
	if err != nil {
		return err
	}
	all := make([]event.Event, events)
	for i := range all {
		all[i] = event.Event{Subject: u.s.stream + "." + name, Key: name, Payload: fmt.Appendf(nil, "%d %s", n+1+int64(i), padding)}
	}
	return took.time(func() error {
		_, err := u.s.table.Insert(ctx, tx, all...)
		return err
	})
}

// line is the events of one key and the account they tell of. Its own goroutine owns it.
type line struct {
	name    string
	account int
	n       int64 // events committed
}

// business is one long transaction that has written to the outbox, and goes on writing; one that reads begins with all of it.
func (u *turnover) business(ctx context.Context, l *line, length time.Duration, reads bool) error {
	n := int64(0)
	err := u.alone(ctx, pgx.TxOptions{}, func(work context.Context, tx pgx.Tx) error {
		if reads {
			var rows int64
			if err := tx.QueryRow(work, u.s.table.SQL("SELECT count(*) FROM outbox.event")).Scan(&rows); err != nil {
				return err
			}
		}
		for began := time.Now(); ctx.Err() == nil && time.Since(began) < length; n++ {
			if err := u.change(work, tx, &u.load.long, l.name, l.account, l.n+n, 1); err != nil {
				return err
			}
			pause(ctx, 100*time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	l.n += n
	u.load.committed.Add(n)
	return nil
}

// snapshot is one long transaction that only reads, and not the outbox: its snapshot holds back every vacuum.
func (u *turnover) snapshot(ctx context.Context, length time.Duration) error {
	o := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := u.alone(ctx, o, func(work context.Context, tx pgx.Tx) error {
		for began := time.Now(); ctx.Err() == nil && time.Since(began) < length; {
			var sum int64
			if err := tx.QueryRow(work, u.s.table.SQL("SELECT sum(version) FROM outbox.account")).Scan(&sum); err != nil {
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

// alone runs one transaction on a connection of its own. What ends ctx does not break it off.
func (u *turnover) alone(ctx context.Context, o pgx.TxOptions, do func(context.Context, pgx.Tx) error) error {
	work := context.WithoutCancel(ctx)
	conn, err := u.connect(work, longName)
	if err != nil {
		return err
	}
	defer conn.Close(work) //nolint:errcheck // nothing is lost with it
	return pgx.BeginTxFunc(work, conn, o, func(tx pgx.Tx) error { return do(work, tx) })
}

// The names of sessions in the server's log.
const longName, shortName = "long", "short"

func (u *turnover) connect(ctx context.Context, name string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(u.s.databaseURL)
	if err != nil {
		return nil, err
	}
	c.RuntimeParams["application_name"] = name
	return pgx.ConnectConfig(ctx, c)
}
