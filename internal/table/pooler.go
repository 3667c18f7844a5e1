package table

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SessionFacts is what came of a round trip: a pooler in transaction mode fails it.
type SessionFacts struct {
	SameBackend bool // two statements of one connection ran in one backend, while another one was busy
	LockHeld    bool // a session lock was still held at the second
	Notified    bool // a NOTIFY from another connection arrived
}

// InspectSession finds out whether connections made with config can carry a relay's session: it takes a lock and
// listens on one, and notifies from another. It waits for the notification no longer than wait.
func (t *Table) InspectSession(ctx context.Context, config *pgx.ConnConfig, wait time.Duration) (SessionFacts, error) {
	config = config.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // prepared statements fail behind some poolers for reasons of their own
	listener, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return SessionFacts{}, fmt.Errorf("inspect session: %w", err)
	}
	defer closeSoon(listener)
	writer, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return SessionFacts{}, fmt.Errorf("inspect session: %w", err)
	}
	defer closeSoon(writer)
	f, err := roundTrip(ctx, &t.q, listener, writer, wait)
	if err != nil {
		return SessionFacts{}, fmt.Errorf("inspect session: %w", err)
	}
	return f, nil
}

func roundTrip(ctx context.Context, q *statements, listener, writer *pgx.Conn, wait time.Duration) (f SessionFacts, err error) {
	name := fmt.Sprintf("outbox.doctor.%08x", rand.Uint32())
	if _, err := listener.Exec(ctx, "LISTEN "+pgx.Identifier{name}.Sanitize()); err != nil {
		return f, fmt.Errorf("listen: %w", err)
	}
	var before, after int32
	if err := listener.QueryRow(ctx, q.PoolerLock, name).Scan(&before, &f.LockHeld); err != nil {
		return f, fmt.Errorf("take a session lock: %w", err)
	}
	// The writer's transaction keeps a backend busy: a pooler that gave the listener's back hands out this one.
	err = pgx.BeginFunc(ctx, writer, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, q.PoolerNotify, name); err != nil {
			return fmt.Errorf("notify: %w", err)
		}
		if err := listener.QueryRow(ctx, q.PoolerHeld, name).Scan(&after, &f.LockHeld); err != nil {
			return fmt.Errorf("look at the session lock: %w", err)
		}
		return nil
	})
	if err != nil {
		return f, err
	}
	f.SameBackend = before == after
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_, err = listener.WaitForNotification(waiting)
	if err != nil && !pgconn.Timeout(err) {
		return f, fmt.Errorf("wait for the notification: %w", err)
	}
	f.Notified = err == nil
	tidy(ctx, q, listener, name)
	return f, nil
}

// tidy gives the lock and the channel back, as well as it can: behind a pooler they would outlive the connection,
// and may be in another backend.
func tidy(ctx context.Context, q *statements, listener *pgx.Conn, name string) {
	_, _ = listener.Exec(ctx, q.PoolerUnlock, name)
	_, _ = listener.Exec(ctx, "UNLISTEN *")
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // whatever it says, the connection is gone
}
