package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
)

// backfillsAtOnce bounds the tables that are filled in parallel, each in a session of its own.
const backfillsAtOnce = 4

// fill performs backfills until they are done, reports their progress, and prints the outcome. One that fails does not
// stop the others.
func (r *jobRun) fill(ctx context.Context, list []*jobs.Job) error {
	r.pace.Throttle = jobs.NewThrottle(r.pace.Rate)
	tasks := make([]term.Task, len(list))
	for i, job := range list {
		tasks[i] = term.Task{Seen: job.Last.Scanned, Events: job.Last.Events, Total: job.Total()}
		if len(list) > 1 {
			tasks[i].Name = tableOf(job) + ": "
		}
		r.notef("job %s: %s; to continue it after an interruption, run: %s\n", job.ID, tableOf(job), r.again(job))
	}
	board := term.NewBoard(term.NewProgress(r.c.App.ErrWriter, r.did), tasks)
	failed := make([]error, len(list))
	var group errgroup.Group
	group.SetLimit(backfillsAtOnce)
	for i, job := range list {
		group.Go(func() error {
			failed[i] = r.fillOne(ctx, job, func() { board.Show(i, job.Last.Scanned, job.Last.Events) }, func(note string) { board.Wait(i, note) })
			return nil
		})
	}
	_ = group.Wait() // the errors are in failed
	board.End()
	return errors.Join(r.printFilled(list), r.stoppedFilling(list, failed))
}

func (r *jobRun) fillOne(ctx context.Context, job *jobs.Job, show func(), note func(string)) error {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return exit.Unreached(exit.Postgres, err)
	}
	defer conn.Release()
	if err := jobs.In(r.table).Announce(ctx, conn, job); err != nil {
		return err
	}
	run := jobs.In(r.table).NewBackfill(job, note)
	return jobs.In(r.table).Work(ctx, conn, job, r.pace, func(ctx context.Context, n int) error {
		defer show()
		return run.Step(ctx, conn, n)
	}, note)
}

// stoppedFilling is the error of the backfills that are not done, with the command that continues each.
func (r *jobRun) stoppedFilling(list []*jobs.Job, failed []error) error {
	var all []error
	var again []string
	var events int64
	interrupted := false
	for i, job := range list {
		if events += job.Last.Events; failed[i] == nil {
			continue
		}
		again = append(again, r.again(job))
		if errors.Is(failed[i], context.Canceled) {
			interrupted = true
			continue
		}
		all = append(all, failed[i])
	}
	if interrupted {
		all = append(all, fmt.Errorf("interrupted after %d events were %s; nothing is lost, and no event will be sent twice: %w", events, r.did, context.Canceled))
	}
	if len(all) == 0 {
		return nil
	}
	return &stoppedError{again: strings.Join(again, "\nto continue, run: "), err: errors.Join(all...)}
}

// filledJSON is the outcome of the backfill of one table.
type filledJSON struct {
	Job      uuid.UUID `json:"job"`
	Kind     string    `json:"kind"`
	Table    string    `json:"table"`
	Scanned  int64     `json:"scanned"`
	Total    int64     `json:"total"` // an estimate
	Inserted int64     `json:"inserted"`
	Done     bool      `json:"done"`
	Continue *string   `json:"continue"` // the command; null when it is done
}

func (r *jobRun) printFilled(list []*jobs.Job) error {
	out := make([]filledJSON, len(list))
	for i, job := range list {
		out[i] = filledJSON{Job: job.ID, Kind: job.Kind, Table: tableOf(job), Scanned: job.Last.Scanned, Total: job.Total(), Inserted: job.Last.Events, Done: job.Last.Done}
		if !job.Last.Done {
			again := continues(job)
			out[i].Continue = &again
		}
	}
	return r.print(struct {
		Jobs []filledJSON `json:"jobs"`
	}{out}, func(w io.Writer) error {
		for i := range out {
			f, end := &out[i], ""
			if !f.Done {
				end = " so far"
			}
			if err := printf(w, "inserted %d events of %s%s, %d rows scanned (job %s)\n", f.Inserted, f.Table, end, f.Scanned, f.Job); err != nil {
				return err
			}
		}
		return nil
	})
}

func tableOf(job *jobs.Job) string {
	spec, err := job.BackfillSpec()
	if err != nil {
		return "?"
	}
	return spec.Table
}
