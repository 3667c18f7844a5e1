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

// ErrNoJob says that there is no job of that id.
var ErrNoJob = errors.New("there is no such job")

// Targets of pauses.
const (
	// PauseRelay is whoever leads: it stops planning and publishing, and goes on leading.
	PauseRelay = "relay"
	// PauseConsumer begins the target of a consumer, with its name behind it. It is told to NATS as well.
	PauseConsumer = "consumer:"
)

// PauseJob is the target of a job.
func PauseJob(id uuid.UUID) string { return id.String() }

// A Pause is what a person stopped. The rows in outbox.pause are the truth: it outlives every process.
type Pause struct {
	Target string
	Reason string
	Author string    // who they say they are
	Role   string    // of PostgreSQL, that they were connected as
	Since  time.Time // by the clock of the database, as Until
	Until  time.Time // when it ends by itself; zero: not before it is resumed
}

// Pause stops targets for a time, or with 0 until they are resumed, all of them or none; one that is paused already is paused
// anew. Without an author it is the role. ErrNoJob if one is a job that does not exist. Needs outbox_owner.
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

// Resume ends pauses and returns the targets that had one. Needs outbox_owner.
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

// Pauses is all that is paused now, by target.
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

// Paused is the pause of one target, and whether it has one.
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

// Paused is the pause of the relays, read in the session of the one that leads.
func (s *Session) Paused(ctx context.Context) (p Pause, paused bool, err error) {
	return s.t.Paused(ctx, s.conn, PauseRelay)
}

func scanPause(row pgx.CollectableRow) (p Pause, err error) {
	var until *time.Time
	into := []any{&p.Target, &p.Reason, &p.Author, &p.Role, &p.Since, &until}
	for range len(row.FieldDescriptions()) - len(into) { // the wake
		into = append(into, nil)
	}
	err = row.Scan(into...)
	if until != nil {
		p.Until = *until
	}
	return p, err
}
