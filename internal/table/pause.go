package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// ErrNoJob means that no job has the id.
var ErrNoJob = errors.New("no such job")

// Targets of pauses.
const (
	// PauseRelay is the target of the relay that leads: it stops to plan and publish, and keeps the lead.
	PauseRelay = "relay"
	// PauseConsumer is the prefix of the target of a consumer, followed by its name. NATS pauses the consumer too.
	PauseConsumer = "consumer:"
)

// PauseJob returns the target of a job.
func PauseJob(id uuid.UUID) string { return id.String() }

// A Pause is a row of outbox.pause: something that a person stopped, until a person or its time ends the pause. It
// outlives every process.
type Pause struct {
	Target string
	Reason string
	Author string    // the person, as given
	Role   string    // that created the row
	Since  time.Time // by the clock of the database, as Until
	Until  time.Time // when it ends by itself; zero for never
}

// Pause pauses targets for d, or until they are resumed if d is 0: all of them or none. It replaces a pause that a
// target already has. An empty author defaults to the role. It returns ErrNoJob if a target is a job that does not
// exist. The role must be a member of outbox_owner.
func (t *Table) Pause(ctx context.Context, db outbox.DB, targets []string, d time.Duration, reason, author string) ([]Pause, error) {
	var seconds *float64
	if d > 0 {
		s := d.Seconds()
		seconds = &s
	}
	rows, err := db.Query(ctx, t.q.Pause, targets, seconds, reason, author)
	if err != nil {
		return nil, fmt.Errorf("pause: %w", t.Migrated(err))
	}
	made, err := pgx.CollectRows(rows, scanPause)
	if err != nil {
		return nil, fmt.Errorf("pause: %w", t.Migrated(err))
	}
	if len(made) < len(targets) {
		return nil, fmt.Errorf("pause: %w among %q", ErrNoJob, targets)
	}
	return made, nil
}

// Resume ends pauses, and returns the targets that had one. The role must be a member of outbox_owner.
func (t *Table) Resume(ctx context.Context, db outbox.DB, targets []string, reason, author string) ([]string, error) {
	rows, err := db.Query(ctx, t.q.Resume, targets, reason, author)
	if err != nil {
		return nil, fmt.Errorf("resume: %w", t.Migrated(err))
	}
	ended, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (target string, err error) {
		return target, row.Scan(&target, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("resume: %w", t.Migrated(err))
	}
	return ended, nil
}

// Pauses returns what is paused now, ordered by target.
func (t *Table) Pauses(ctx context.Context, db outbox.DB) ([]Pause, error) {
	rows, err := db.Query(ctx, t.q.Pauses)
	if err != nil {
		return nil, fmt.Errorf("read pauses: %w", t.Migrated(err))
	}
	pauses, err := pgx.CollectRows(rows, scanPause)
	if err != nil {
		return nil, fmt.Errorf("read pauses: %w", t.Migrated(err))
	}
	return pauses, nil
}

// Paused returns the pause of a target, and whether it has one.
func (t *Table) Paused(ctx context.Context, db outbox.DB, target string) (p Pause, paused bool, err error) {
	rows, err := db.Query(ctx, t.q.Paused, target)
	if err == nil {
		p, err = pgx.CollectExactlyOneRow(rows, scanPause)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return Pause{}, false, nil
	}
	if err != nil {
		return Pause{}, false, fmt.Errorf("read pause of %s: %w", target, err)
	}
	return p, true, nil
}

// Paused returns the pause of the relay, and whether it has one.
func (s *Session) Paused(ctx context.Context) (p Pause, paused bool, err error) {
	return s.t.Paused(ctx, s.conn, PauseRelay)
}

func scanPause(row pgx.CollectableRow) (p Pause, err error) {
	var until *time.Time
	into := []any{&p.Target, &p.Reason, &p.Author, &p.Role, &p.Since, &until}
	for range len(row.FieldDescriptions()) - len(into) { // columns that only wake sessions
		into = append(into, nil)
	}
	err = row.Scan(into...)
	if until != nil {
		p.Until = *until
	}
	return p, err
}
