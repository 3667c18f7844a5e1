package table

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Cluster is a cluster of PostgreSQL at a time of its life: a fail-over begins a new timeline.
type Cluster struct {
	System   int64 // its identifier; 0 for none
	Timeline int32
}

// Home is where an outbox lives.
type Home struct {
	Now, Last Cluster // of the connection; of the last relay
	n         int
	settled   int64
}

// Moved says that the outbox was restored from another cluster.
func (h Home) Moved() bool { return h.Last.System != 0 && h.Last.System != h.Now.System }

// FailedOver says that the cluster began another timeline since the last relay: a standby was promoted.
func (h Home) FailedOver() bool {
	return h.Last.System == h.Now.System && h.Last.Timeline != h.Now.Timeline
}

// Home reads where the outbox lives. The connection must be to a primary.
func (t *Table) Home(ctx context.Context, db outbox.DB) (Home, error) {
	var h Home
	err := db.QueryRow(ctx, t.q.Cluster).Scan(&h.Now.System, &h.Now.Timeline, &h.n, &h.Last.System, &h.Last.Timeline, &h.settled)
	if err != nil {
		return Home{}, fmt.Errorf("identify the cluster: %w", t.Migrated(err))
	}
	return h, nil
}

// Settle notes which cluster the outbox lives in, when that is new. ErrMoved means that it was planned in another
// one: this one is a copy, and must not publish what the original does. Only the leader settles.
func (s *Session) Settle(ctx context.Context) (Home, error) {
	h, err := s.t.Home(ctx, s.conn)
	if err != nil || h.Now == h.Last {
		return h, err
	}
	if h.Moved() {
		return h, fmt.Errorf("%w: it was planned in cluster %d, and this is %d; a copy must not publish what its original does. If it takes over, run: outbox adopt --schema %s",
			ErrMoved, h.Last.System, h.Now.System, s.t.Schema())
	}
	reason := "first"
	if h.FailedOver() {
		reason = "fail-over"
	}
	_, err = s.conn.Exec(ctx, s.t.q.ClusterInsert, h.n+1, h.Now.System, h.Now.Timeline, h.settled, reason, s.relay)
	if err != nil {
		return h, fmt.Errorf("note the cluster: %w", err)
	}
	return h, nil
}

// Adopted is what an adoption found.
type Adopted struct {
	Planned int64 // events that had no position yet, and have one now
	Settled int64 // the highest row id that came with the copy
}

// beginner is what a transaction can be begun on: *pgxpool.Pool, *pgx.Conn, pgx.Tx.
type beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Adopt makes an outbox that was restored from another cluster live on in this one. Writers wait until it is done: it reads
// every id of the table once, some seconds for ten million. The sequences of the copy must not be behind its rows,
// which holds for pg_dump. Nothing is done, and no error returned, where it lives here already.
func (t *Table) Adopt(ctx context.Context, db beginner, by string) (a Adopted, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		a, err = t.adopt(ctx, tx, by)
		return err
	})
	return a, err
}

// TryAdopt says what Adopt would do.
func (t *Table) TryAdopt(ctx context.Context, db beginner, by string) (a Adopted, err error) {
	tx, err := db.Begin(ctx)
	if err != nil {
		return Adopted{}, fmt.Errorf("adopt: %w", err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // the connection is gone then, and the transaction with it
	return t.adopt(ctx, tx, by)
}

func (t *Table) adopt(ctx context.Context, tx pgx.Tx, by string) (a Adopted, err error) {
	if _, err := tx.Exec(ctx, t.q.AdoptLock); err != nil {
		return Adopted{}, fmt.Errorf("adopt: %w", t.Migrated(err))
	}
	h, err := t.Home(ctx, tx)
	if err != nil || !h.Moved() {
		return Adopted{}, err
	}
	if err := tx.QueryRow(ctx, t.q.Adopt, h.Now.System, h.Now.Timeline, by).Scan(&a.Planned, &a.Settled); err != nil {
		return Adopted{}, fmt.Errorf("adopt: %w", err)
	}
	return a, nil
}
