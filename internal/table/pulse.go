package table

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Pulse is how an outbox has been doing lately.
type Pulse struct {
	In, Out       float64   // events that came, and that the stream acknowledged, per second of the window
	AckedAt       time.Time // the last receipt of the stream; zero when there is none
	StreamCreated time.Time // of the stream that it is of
	Now           time.Time // by the clock of the database
	Blocked       []Blocked
}

// Blocked is a session of a relay that waits for another one's lock.
type Blocked struct {
	PID, By                  int32
	Application, Role, State string        // of who holds it; empty without the right to see it
	Waits, Age               time.Duration // how long the session has waited, how long the other's transaction is open
}

// Pulse reads how the outbox has been doing over a window of some seconds.
func (t *Table) Pulse(ctx context.Context, db outbox.DB, stream string, window time.Duration) (Pulse, error) {
	var p Pulse
	var acked, created *time.Time
	err := db.QueryRow(ctx, t.q.Rates, stream, window.Seconds()).Scan(&p.In, &p.Out, &acked, &created, &p.Now)
	if err != nil {
		return Pulse{}, fmt.Errorf("read pulse: %w", t.Migrated(err))
	}
	if acked != nil {
		p.AckedAt, p.StreamCreated = *acked, *created
	}
	rows, err := db.Query(ctx, t.q.BlockedRelays)
	if err != nil {
		return Pulse{}, fmt.Errorf("read blocked sessions: %w", err)
	}
	p.Blocked, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (b Blocked, err error) {
		var waits, age float64
		err = row.Scan(&b.PID, &b.By, &b.Application, &b.Role, &b.State, &waits, &age)
		b.Waits, b.Age = time.Duration(waits*float64(time.Second)), time.Duration(age*float64(time.Second))
		return b, err
	})
	if err != nil {
		return Pulse{}, fmt.Errorf("read blocked sessions: %w", err)
	}
	return p, nil
}
