package table

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// SessionFacts is the result of a round trip that a pooler in transaction mode fails.
type SessionFacts struct {
	SameBackend bool // two statements of one connection ran in one backend, while a second connection was busy
	LockHeld    bool // the session lock of the first statement was held at the second
	Notified    bool // a NOTIFY of the second connection arrived
}

// InspectSession finds out whether connections with this configuration can carry a relay's session: it takes a lock and
// listens on one connection, notifies from another, and waits for the notification for at most wait.
func (t *Table) InspectSession(ctx context.Context, config *pgx.ConnConfig, wait time.Duration) (SessionFacts, error) {
	config = config.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // prepared statements fail with some poolers, for other reasons
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
	// The writer's transaction occupies a backend. A pooler in transaction mode gave it the one that the listener had.
	err = pgx.BeginFunc(ctx, writer, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, q.PoolerNotify, name); err != nil {
			return fmt.Errorf("notify: %w", err)
		}
		if err := listener.QueryRow(ctx, q.PoolerHeld, name).Scan(&after, &f.LockHeld); err != nil {
			return fmt.Errorf("check the session lock: %w", err)
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
	release(ctx, q, listener, name)
	return f, nil
}

// release releases the lock and the channel, without a guarantee: with a pooler they outlive the connection, and may
// belong to another backend.
func release(ctx context.Context, q *statements, listener *pgx.Conn, name string) {
	_, _ = listener.Exec(ctx, q.PoolerUnlock, name)
	_, _ = listener.Exec(ctx, "UNLISTEN *")
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the connection is closed either way
}
