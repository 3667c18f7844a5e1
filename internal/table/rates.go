package table

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Rates is what went in and out of an outbox lately, and what holds its relay up.
type Rates struct {
	In, Out       float64   // events inserted, and events acknowledged by the stream, per second
	AckedAt       time.Time // time of the last receipt; zero if there is none
	StreamCreated time.Time // creation time of the stream of that receipt
	Now           time.Time // by the clock of the database
	Blocked       []Blocked
}

// Blocked is a session of a relay that waits for a lock of another session.
type Blocked struct {
	PID, By                  int32         // of the two sessions
	Application, Role, State string        // of the session that holds the lock; empty if the role may not see them
	Waits, Age               time.Duration // how long the relay has waited, and how long the other's transaction has been open
}

// Rates reads the rates over a window, which should be some seconds.
func (t *Table) Rates(ctx context.Context, db outbox.DB, stream string, window time.Duration) (Rates, error) {
	var r Rates
	var acked, created *time.Time
	err := db.QueryRow(ctx, t.q.Rates, stream, window.Seconds()).Scan(&r.In, &r.Out, &acked, &created, &r.Now)
	if err != nil {
		return Rates{}, fmt.Errorf("read rates: %w", t.Migrated(err))
	}
	if acked != nil {
		r.AckedAt, r.StreamCreated = *acked, *created
	}
	rows, err := db.Query(ctx, t.q.BlockedRelays)
	if err != nil {
		return Rates{}, fmt.Errorf("read blocked sessions: %w", err)
	}
	r.Blocked, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (b Blocked, err error) {
		var waits, age float64
		err = row.Scan(&b.PID, &b.By, &b.Application, &b.Role, &b.State, &waits, &age)
		b.Waits, b.Age = time.Duration(waits*float64(time.Second)), time.Duration(age*float64(time.Second))
		return b, err
	})
	if err != nil {
		return Rates{}, fmt.Errorf("read blocked sessions: %w", err)
	}
	return r, nil
}
