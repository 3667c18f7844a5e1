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
	// ErrStepTaken says that another process works at the same job.
	ErrStepTaken = errors.New("another process works at this job")
	// ErrGone says that events which were asked for were dropped: the retention is over.
	ErrGone = errors.New("events were dropped")
)

// A Job is long work that is done in steps, each one transaction, by whoever runs it. It can be killed anywhere and goes on where
// it was; two processes at the same job do it once.
type Job struct {
	ID        uuid.UUID
	Kind      string          // replay or backfill
	Spec      json.RawMessage // what was asked for
	StartedBy string          // role
	StartedAt time.Time
	Last      Step // zero before the first
	Running   bool // a session does it, see Announce

	span int64 // how much the next step looks at; 0: not known yet
}

// A Step is a part of a job that is done.
type Step struct {
	N      int64           // from 1
	Place  json.RawMessage // where the next step goes on
	Seen   int64           // looked at, by all steps so far
	Events int64           // made, by all steps so far
	Done   bool            // it was the last
	At     time.Time
}

// startJob notes that work begins.
func (t *Store) startJob(ctx context.Context, db outbox.DB, kind string, spec any) (*Job, error) {
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

// Job reads one job. table.ErrNoJob when there is none of that id.
func (t *Store) Job(ctx context.Context, db outbox.DB, id uuid.UUID) (*Job, error) {
	jobs, err := t.jobs(ctx, db, id.String(), 1)
	if err == nil && len(jobs) == 0 {
		err = fmt.Errorf("%w: %s; outbox jobs lists them", table.ErrNoJob, id)
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
		err = row.Scan((*[16]byte)(&j.ID), &j.Kind, &j.Spec, &j.StartedBy, &j.StartedAt, &j.Last.N, &j.Last.Place, &j.Last.Seen, &j.Last.Events, &j.Last.Done, &at, &j.Running)
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

// Announce names the session db, which has to be one connection, after the job that it is going to do: then Job.Running is true while
// it lives. Only told, not enforced: two that do one job are told apart by ErrStepTaken.
func (t *Store) Announce(ctx context.Context, db outbox.DB, job *Job) error {
	if _, err := db.Exec(ctx, t.q.JobAnnounce, job.Kind, job.ID.String()); err != nil {
		return fmt.Errorf("announce %s %s: %w", job.Kind, job.ID, err)
	}
	return nil
}

// Total is how much the job has to look at, of which Last.Seen is done: the positions of a replay, or what a spec says as total; 0
// when it is not known.
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

// takeStep runs the statement of a step, which notes itself.
func (t *Store) takeStep(ctx context.Context, db outbox.DB, job *Job, query string, args ...any) error {
	rows, err := t.NoJIT(ctx, db, query, args...)
	var s Step
	if err == nil {
		s, err = pgx.CollectOneRow(rows, func(row pgx.CollectableRow) (s Step, err error) {
			return s, row.Scan(&s.N, &s.Place, &s.Seen, &s.Events, &s.Done, &s.At)
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
