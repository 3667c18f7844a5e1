// Package replicas watches how far the streaming replicas of a PostgreSQL server are.
package replicas

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"

	text "github.com/seed-6eff6314/outbox-relay/sql"
)

const (
	replicasEvery   = 200 * time.Millisecond // between two looks
	replicasTimeout = 5 * time.Second        // for one look
	replicasHold    = 30 * time.Second       // a replica that is further behind is waited for no longer
)

// ErrHidden says that this role does not see how far the replicas are.
var ErrHidden = errors.New("the replicas' positions are hidden from this role: GRANT pg_monitor TO it")

// Watch watches how far streaming replicas are, so that an echo can wait until readers who ask them see what an event
// was about. It is a gate of package invalidate. A replica that is not connected, or more than 30 s behind, is waited for
// so long and no longer: whoever reads from one for longer than that has stale values that no deletion mends.
//
// No clocks are compared but ours with itself: what was committed before a moment has replayed everywhere once all
// replicas passed the end of the WAL that the primary had after that moment. Safe for concurrent use.
type Watch struct {
	db    DB
	query string
	names []string

	mu     sync.Mutex
	looks  []look // at most so many as fit into replicasHold, oldest first
	capped int64
}

// DB is the primary that New takes: *pgxpool.Pool or *pgx.Conn.
type DB interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// statements are the texts in sql/queries that this package sends.
type statements struct{ Replicas string }

// A look is one answer of the primary.
type look struct {
	asked   time.Time // before
	flushed int64     // the end of its WAL
	passed  time.Time // when all replicas were seen to have that; zero: not yet
}

// New returns a watch on replicas with these names (application_name in their primary_conninfo). db is the
// primary's, with the rights of pg_monitor.
func New(db DB, names ...string) *Watch {
	query, err := text.Bind[statements](text.DefaultSchema) // it names no schema
	if err != nil {
		panic(err)
	}
	return &Watch{db: db, query: query.Replicas, names: names}
}

// Run looks until ctx ends and returns nil. It returns an error only if the first look shows that it can never see
// anything; every other failure is waited out, and told to failed, if that is set, once for each.
func (r *Watch) Run(ctx context.Context, failed func(error)) error {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(replicasEvery), backoff.WithMaxInterval(replicasTimeout), backoff.WithMaxElapsedTime(0))
	for first := true; ctx.Err() == nil; first = false {
		err := r.Look(ctx)
		switch {
		case err == nil:
			pause.Reset()
		case errors.Is(err, ErrHidden) && first:
			return err
		case failed != nil && ctx.Err() == nil:
			failed(err)
		}
		next := replicasEvery
		if err != nil {
			next = pause.NextBackOff()
		}
		select {
		case <-ctx.Done():
		case <-time.After(next):
		}
	}
	return nil
}

// Look asks the primary once. It is what Run does.
func (r *Watch) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, replicasTimeout)
	defer cancel()
	asked := time.Now()
	var flushed, replayed int64
	var readable bool
	if err := r.db.QueryRow(ctx, r.query, r.names).Scan(&flushed, &replayed, &readable); err != nil {
		return fmt.Errorf("look at replicas: %w", err)
	}
	if !readable {
		return fmt.Errorf("look at replicas: %w", ErrHidden)
	}
	r.note(asked, flushed, replayed, time.Now())
	return nil
}

func (r *Watch) note(asked time.Time, flushed, replayed int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks = append(r.looks, look{asked: asked, flushed: flushed})
	for i := range r.looks {
		if l := &r.looks[i]; l.passed.IsZero() && replayed >= l.flushed {
			l.passed = now
		}
	}
	for len(r.looks) > 1 && now.Sub(r.looks[1].asked) > replicasHold {
		r.looks = r.looks[1:]
	}
}

// Passed returns since when every replica shows all that was committed before a moment; false if one does not yet.
func (r *Watch) Passed(before time.Time) (since time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.looks {
		if l := &r.looks[i]; !l.asked.Before(before) && !l.passed.IsZero() {
			return l.passed, true
		}
	}
	if time.Since(before) > replicasHold {
		r.capped++
		return before.Add(replicasHold), true
	}
	return time.Time{}, false
}

// Capped returns how often something was let pass that a replica did not have.
func (r *Watch) Capped() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.capped
}
