package faults

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// load is a group of writers. Each transaction changes an account and inserts events for the change; some transactions
// stall, roll back to a savepoint, or roll back completely.
type load struct {
	s         *scenario
	cancel    context.CancelFunc
	group     errgroup.Group
	committed atomic.Int64 // events
	pause     time.Duration
	lossy     bool // the database may become unavailable, so errors are expected
}

// startLoad starts writers. Each pauses between pause and twice that after a transaction. stop ends them.
func (s *scenario) startLoad(writers int, pause time.Duration, lossy bool) *load {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	l := &load{s: s, cancel: cancel, pause: pause, lossy: lossy}
	for i := range writers {
		rng := rand.New(rand.NewPCG(uint64(i), seed()))
		l.group.Go(func() error { return l.run(ctx, rng) })
	}
	s.t.Cleanup(cancel)
	return l
}

// stop ends the writers and waits for them. It ends the test if one failed.
func (l *load) stop() {
	l.s.t.Helper()
	l.cancel()
	l.s.must(l.group.Wait())
}

func (l *load) run(ctx context.Context, rng *rand.Rand) error {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}()
	for ctx.Err() == nil {
		err := func() (err error) {
			work, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
			defer cancel()
			if conn == nil {
				if conn, err = pgx.Connect(work, cmp.Or(l.s.writers, l.s.pool.Config().ConnString())); err != nil {
					return err
				}
			}
			n, err := l.change(work, conn, rng)
			l.committed.Add(n)
			return err
		}()
		if err != nil && !l.lossy {
			return fmt.Errorf("write: %w", err)
		}
		if err != nil && conn != nil {
			_ = conn.Close(context.Background())
			conn = nil
		}
		pause(ctx, l.pause+time.Duration(rng.Int64N(int64(l.pause)+1)))
	}
	return nil
}

// pause spaces out writes and faults. A test must not use it to wait for a condition.
func pause(ctx context.Context, d time.Duration) { _ = wait.For(ctx, d) }

// change runs one business transaction on one account and returns the number of committed events. A fifth of them stall
// before they end, a sixth roll back, and a sixth roll back to a savepoint. While it holds the row, change caches the
// old version, which must be deleted from the cache after the commit.
func (l *load) change(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) (events int64, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // has no effect after a commit
	s, key := l.s, rng.IntN(accounts)
	var version int
	if err := tx.QueryRow(ctx, s.table.SQL("SELECT version FROM outbox.account WHERE key = $1 FOR UPDATE"), key).Scan(&version); err != nil {
		return 0, err
	}
	if s.cached {
		_ = s.rdb.Set(ctx, s.prefix+strconv.Itoa(key), version, time.Hour).Err() // the scenario may have stopped Redis
	}
	for range 1 + rng.IntN(3) {
		if err := s.bump(ctx, tx, key); err != nil {
			return 0, err
		}
		events++
	}
	if rng.IntN(6) == 0 {
		err := pgx.BeginFunc(ctx, tx, func(nested pgx.Tx) error { // a savepoint
			if err := s.bump(ctx, nested, key); err != nil {
				return err
			}
			return errRollback
		})
		if err != errRollback {
			return 0, err
		}
	}
	if rng.IntN(5) == 0 {
		if _, err := tx.Exec(ctx, "SELECT pg_sleep($1)", rng.Float64()*0.02); err != nil {
			return 0, err
		}
	}
	if rng.IntN(6) == 0 {
		return 0, nil
	}
	return events, tx.Commit(ctx)
}

// errRollback makes pgx.BeginFunc roll back.
var errRollback = errors.New("roll back")

// bump increments the version of an account and inserts an event with the new version.
func (s *scenario) bump(ctx context.Context, tx pgx.Tx, key int) error {
	var version int
	if err := tx.QueryRow(ctx, s.table.SQL("UPDATE outbox.account SET version = version + 1 WHERE key = $1 RETURNING version"), key).Scan(&version); err != nil {
		return err
	}
	_, err := s.table.Insert(ctx, tx, event.Event{Subject: fmt.Sprintf("%s.account.%d", s.stream, key), Key: strconv.Itoa(key),
		Headers: map[string]string{"Version": strconv.Itoa(version)}})
	return err
}

// insertBacklog inserts n events without a business change, in one statement.
func (s *scenario) insertBacklog(n int) {
	s.t.Helper()
	s.exec(`INSERT INTO outbox.event (subject, key, payload)
		SELECT $1::text || (g % 100), 'bulk' || (g % 100), convert_to(repeat('x', 100), 'UTF8') FROM generate_series(1, $2::int) g`, s.stream+".bulk.", n)
}

// insertConcurrently inserts n events in transactions of 50,000, up to four at a time. The parameters of the statement
// are the stream's name followed by a dot, and the number of events to insert.
func (s *scenario) insertConcurrently(n int, statement string) {
	s.t.Helper()
	var group errgroup.Group
	group.SetLimit(4)
	for left := n; left > 0; left -= 50_000 {
		group.Go(func() error {
			_, err := s.pool.Exec(s.t.Context(), s.table.SQL(statement), s.stream+".", min(left, 50_000))
			return err
		})
	}
	s.must(group.Wait())
}
