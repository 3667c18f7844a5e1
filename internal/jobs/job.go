package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Errors of jobs.
var (
	// ErrStepTaken means that another process did the next step of the job.
	ErrStepTaken = errors.New("another process runs this job")
	// ErrDropped means that retention has dropped events of the query.
	ErrDropped = errors.New("events were dropped by retention")
)

// A Job is a replay or a backfill. Any process may run its steps, one after the other.
type Job struct {
	ID        uuid.UUID
	Kind      string          // replay or backfill
	Spec      json.RawMessage // the completed query, as JSON
	StartedBy string          // role
	StartedAt time.Time
	Last      Step // zero before the first step
	Running   bool // a session has announced that it runs the job

	span int64 // positions that the next step of a replay scans; 0 before the first
}

// A Step is a finished part of a job.
type Step struct {
	N       int64           // from 1
	Cursor  json.RawMessage // where the next step begins
	Scanned int64           // scanned by all steps so far: positions of a replay, rows of a backfill
	Events  int64           // inserted by all steps so far
	Done    bool            // the job is finished
	At      time.Time
}

// start records a new job.
func (t *Store) start(ctx context.Context, db outbox.DB, kind string, spec any) (*Job, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	j := &Job{Kind: kind, Spec: text}
	if err := db.QueryRow(ctx, t.q.JobStart, kind, string(text)).Scan((*[16]byte)(&j.ID), &j.StartedBy, &j.StartedAt); err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, t.Migrated(err))
	}
	return j, nil
}

// Job reads a job. It returns table.ErrNoJob if no job has the id.
func (t *Store) Job(ctx context.Context, db outbox.DB, id uuid.UUID) (*Job, error) {
	jobs, err := t.jobs(ctx, db, id.String(), 1)
	if err == nil && len(jobs) == 0 {
		err = fmt.Errorf("%w: %s; list them with: outbox jobs", table.ErrNoJob, id)
	}
	if err != nil {
		return nil, err
	}
	return &jobs[0], nil
}

// Jobs lists the last n jobs, newest first.
func (t *Store) Jobs(ctx context.Context, db outbox.DB, n int) ([]Job, error) {
	return t.jobs(ctx, db, nil, n)
}

func (t *Store) jobs(ctx context.Context, db outbox.DB, id any, n int) ([]Job, error) {
	rows, err := db.Query(ctx, t.q.JobList, id, n)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", t.Migrated(err))
	}
	jobs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (j Job, err error) {
		var at *time.Time
		err = row.Scan((*[16]byte)(&j.ID), &j.Kind, &j.Spec, &j.StartedBy, &j.StartedAt, &j.Last.N, &j.Last.Cursor, &j.Last.Scanned, &j.Last.Events, &j.Last.Done, &at, &j.Running)
		if at != nil {
			j.Last.At = *at
		}
		return j, err
	})
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", t.Migrated(err))
	}
	return jobs, nil
}

// Announce names a session after the job that it runs: Job.Running is true while the session lives. db must be a single
// connection. Advisory only: concurrent processes are resolved by ErrStepTaken.
func (t *Store) Announce(ctx context.Context, db outbox.DB, job *Job) error {
	if _, err := db.Exec(ctx, t.q.JobAnnounce, job.Kind, job.ID.String()); err != nil {
		return fmt.Errorf("announce %s %s: %w", job.Kind, job.ID, err)
	}
	return nil
}

// Total is how much the job scans in all, of which Last.Scanned is done: the positions of a replay, or the estimated
// rows of a backfill. It is 0 if unknown.
func (j *Job) Total() int64 {
	if j.Kind == "replay" {
		return j.replayTotal()
	}
	var s struct {
		Total int64 `json:"total"`
	}
	if err := json.Unmarshal(j.Spec, &s); err != nil {
		return 0
	}
	return s.Total
}

// takeStep runs the statement of a step, which also records the step.
func (t *Store) takeStep(ctx context.Context, db outbox.DB, job *Job, query string, args ...any) error {
	rows, err := t.NoJIT(ctx, db, query, args...)
	var s Step
	if err == nil {
		s, err = pgx.CollectOneRow(rows, func(row pgx.CollectableRow) (s Step, err error) {
			return s, row.Scan(&s.N, &s.Cursor, &s.Scanned, &s.Events, &s.Done, &s.At)
		})
	}
	if sqlstate.Is(err, sqlstate.UniqueViolation) {
		return fmt.Errorf("%s %s: %w", job.Kind, job.ID, ErrStepTaken)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", job.Kind, job.ID, err)
	}
	job.Last = s
	return nil
}
