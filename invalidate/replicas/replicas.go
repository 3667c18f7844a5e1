// Package replicas watches how far the streaming replicas of a PostgreSQL server are, so that an invalidator deletes
// a value once more when every replica shows the change.
//
//	watch := replicas.New(pool, "replica-1", "replica-2")
//	go watch.Run(ctx, func(err error) { log.Warn("replicas not readable", "err", err) })
//	cfg := invalidate.Config{EchoGate: watch /* … */}
package replicas

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

const (
	pollEvery   = 200 * time.Millisecond
	pollTimeout = 5 * time.Second
	maxDelay    = 30 * time.Second // longest wait for a replica
)

// ErrHidden means that the role may not see how far the replicas are.
var ErrHidden = errors.New("the role may not see the positions of replicas; run: GRANT pg_monitor TO the role")

// Watch polls the primary for the positions of streaming replicas, so that an echo can wait until readers of the
// replicas see what an event is about. It is an EchoGate of package invalidate. It waits at most 30 s for a replica
// that is late or not connected; a client that reads from a later one can cache a stale value that no echo deletes.
//
// It compares no clocks of different machines: what was committed before a moment is visible on all replicas once
// they have replayed the WAL up to where it ended on the primary after that moment. Safe for concurrent use.
type Watch struct {
	db    DB
	query string
	names []string

	mu     sync.Mutex
	polls  []poll // those of the last maxDelay, oldest first
	capped int64
}

// DB is the primary that New takes: *pgxpool.Pool or *pgx.Conn.
type DB interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// statements are the texts in sql/queries that this package sends.
type statements struct{ Replicas string }

// A poll is one answer of the primary.
type poll struct {
	began   time.Time // before the query
	flushed int64     // end of the WAL on the primary
	passed  time.Time // when a poll first showed that all replicas have replayed that; zero if none did yet
}

// New returns a watch on replicas with these names, which are those of application_name in their primary_conninfo. db
// must be connected to the primary, with the rights of pg_monitor. Call Run to poll.
func New(db DB, names ...string) *Watch {
	query, err := text.Bind[statements](text.DefaultSchema) // it names no schema
	if err != nil {
		panic(err)
	}
	return &Watch{db: db, query: query.Replicas, names: names}
}

// Run polls every 200 ms until ctx ends, and returns nil. If a poll fails, it calls failed, if that is not nil, and
// retries after a growing pause of at most 5 s. It returns an error only if the first poll returns ErrHidden.
func (r *Watch) Run(ctx context.Context, failed func(error)) error {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(pollEvery), backoff.WithMaxInterval(pollTimeout), backoff.WithMaxElapsedTime(0))
	for first := true; ctx.Err() == nil; first = false {
		err := r.Poll(ctx)
		switch {
		case err == nil:
			pause.Reset()
		case errors.Is(err, ErrHidden) && first:
			return err
		case failed != nil && ctx.Err() == nil:
			failed(err)
		}
		next := pollEvery
		if err != nil {
			next = pause.NextBackOff()
		}
		_ = wait.For(ctx, next) // the loop ends with ctx
	}
	return nil
}

// Poll queries the primary once.
func (r *Watch) Poll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	began := time.Now()
	var flushed, replayed int64
	var readable bool
	if err := r.db.QueryRow(ctx, r.query, r.names).Scan(&flushed, &replayed, &readable); err != nil {
		return fmt.Errorf("poll replicas: %w", err)
	}
	if !readable {
		return fmt.Errorf("poll replicas: %w", ErrHidden)
	}
	r.record(began, flushed, replayed, time.Now())
	return nil
}

func (r *Watch) record(began time.Time, flushed, replayed int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.polls = append(r.polls, poll{began: began, flushed: flushed})
	for i := range r.polls {
		if p := &r.polls[i]; p.passed.IsZero() && replayed >= p.flushed {
			p.passed = now
		}
	}
	for len(r.polls) > 1 && now.Sub(r.polls[1].began) > maxDelay {
		r.polls = r.polls[1:]
	}
}

// Passed returns the time since which every replica shows all that was committed before a moment, and false if one of
// them does not yet. After 30 s it returns true in any case: see Capped.
func (r *Watch) Passed(before time.Time) (since time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.polls {
		if p := &r.polls[i]; !p.began.Before(before) && !p.passed.IsZero() {
			return p.passed, true
		}
	}
	if time.Since(before) > maxDelay {
		r.capped++
		return before.Add(maxDelay), true
	}
	return time.Time{}, false
}

// Capped returns how often Passed returned true only because 30 s were over.
func (r *Watch) Capped() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.capped
}
