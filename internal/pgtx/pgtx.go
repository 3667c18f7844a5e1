// Package pgtx runs functions in transactions with settings of their own.
package pgtx

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Beginner begins transactions: *pgxpool.Pool, *pgx.Conn or pgx.Tx.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// WithLockTimeout runs f in a transaction whose statements wait at most d for a lock, in whole milliseconds; 0 waits
// without a limit. It commits if f returns nil, and rolls back otherwise.
func WithLockTimeout(ctx context.Context, db Beginner, d time.Duration, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('lock_timeout', $1, true)", fmt.Sprintf("%dms", d.Milliseconds())); err != nil {
			return fmt.Errorf("set lock timeout: %w", err)
		}
		return f(tx)
	})
}
