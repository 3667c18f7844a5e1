package table

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Cluster identifies a cluster of PostgreSQL and its timeline. A fail-over begins a new timeline.
type Cluster struct {
	System   int64 // system identifier; 0 for none
	Timeline int32
}

// Home is the cluster that an outbox is in, and the one that it was planned in.
type Home struct {
	Now, Last Cluster // of the connection, and of the relay that led last
	n         int
	settled   int64
}

// Moved reports whether the outbox was restored from another cluster.
func (h Home) Moved() bool { return h.Last.System != 0 && h.Last.System != h.Now.System }

// FailedOver reports whether a standby was promoted since a relay led last: the cluster has another timeline.
func (h Home) FailedOver() bool {
	return h.Last.System == h.Now.System && h.Last.Timeline != h.Now.Timeline
}

// Home reads the cluster of the connection, which must be to a primary, and the one that the outbox was planned in.
func (t *Table) Home(ctx context.Context, db outbox.DB) (Home, error) {
	var h Home
	err := db.QueryRow(ctx, t.q.Cluster).Scan(&h.Now.System, &h.Now.Timeline, &h.n, &h.Last.System, &h.Last.Timeline, &h.settled)
	if err != nil {
		return Home{}, fmt.Errorf("identify the cluster: %w", t.Migrated(err))
	}
	return h, nil
}

// RecordCluster records the cluster of the session if the outbox has not been planned in it yet. Only the leader
// calls it. It returns ErrMoved if the outbox was planned in another cluster: a copy must not publish what its
// original publishes.
func (s *Session) RecordCluster(ctx context.Context) (Home, error) {
	h, err := s.t.Home(ctx, s.conn)
	if err != nil || h.Now == h.Last {
		return h, err
	}
	if h.Moved() {
		return h, fmt.Errorf("%w: planned in cluster %d, found in cluster %d; a copy must not publish beside its original. If the original no longer publishes, run: outbox adopt --schema %s",
			ErrMoved, h.Last.System, h.Now.System, s.t.Schema())
	}
	reason := "first"
	if h.FailedOver() {
		reason = "fail-over"
	}
	_, err = s.conn.Exec(ctx, s.t.q.ClusterInsert, h.n+1, h.Now.System, h.Now.Timeline, h.settled, reason, s.relay)
	if err != nil {
		return h, fmt.Errorf("record the cluster: %w", err)
	}
	return h, nil
}

// Adopted is the result of an adoption.
type Adopted struct {
	Planned int64 // events that had no position and got one
	Settled int64 // the highest row id of the copy
}

// beginner begins transactions: *pgxpool.Pool, *pgx.Conn or pgx.Tx.
type beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Adopt lets an outbox that was restored from another cluster publish from this one. Writers wait until it returns:
// it reads every id of the table once, which takes some seconds for ten million. The sequences of the copy must not
// be lower than its rows; those of pg_dump are not. If the outbox was planned in this cluster, Adopt does nothing and
// returns nil.
func (t *Table) Adopt(ctx context.Context, db beginner, by string) (a Adopted, err error) {
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		a, err = t.adopt(ctx, tx, by)
		return err
	})
	return a, err
}

// TryAdopt returns what Adopt would do, and rolls back.
func (t *Table) TryAdopt(ctx context.Context, db beginner, by string) (a Adopted, err error) {
	tx, err := db.Begin(ctx)
	if err != nil {
		return Adopted{}, fmt.Errorf("adopt: %w", err)
	}
	defer tx.Rollback(ctx) //nolint:errcheck // if it fails the connection is lost, and the transaction with it
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
