package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// backfillsAtOnce is how many tables are worked at, each in a session of its own.
const backfillsAtOnce = 4

// fill does backfills until they are done, tells how far they are, and prints what came of them. One that fails does not stop the others.
func (r *jobRun) fill(tbl *table.Table, pool *pgxpool.Pool, list []*jobs.Job) error {
	r.pace.Throttle = jobs.NewThrottle(r.pace.Rate)
	b := newBoard(newProgress(r.c.App.ErrWriter, r.did), list)
	for _, job := range list {
		fmt.Fprintf(r.c.App.ErrWriter, "job %s: %s; if it is interrupted, go on with: %s\n", job.ID, tableOf(job), r.again(job)) //nolint:errcheck // only a remark
	}
	failed := make([]error, len(list))
	var group errgroup.Group
	group.SetLimit(backfillsAtOnce)
	for i, job := range list {
		group.Go(func() error {
			failed[i] = r.fillOne(tbl, pool, job, func() { b.show(i, job.Last) }, func(note string) { b.wait(i, note) })
			return nil
		})
	}
	_ = group.Wait() // what failed is in failed
	b.p.end()
	return errors.Join(r.printFilled(list), r.stoppedFilling(list, failed))
}

func (r *jobRun) fillOne(tbl *table.Table, pool *pgxpool.Pool, job *jobs.Job, show func(), say func(note string)) error {
	conn, err := pool.Acquire(r.c.Context)
	if err != nil {
		return &serverError{postgres, err}
	}
	defer conn.Release()
	if err := jobs.In(tbl).Announce(r.c.Context, conn, job); err != nil {
		return err
	}
	run := jobs.In(tbl).NewBackfill(job, say)
	return jobs.In(tbl).Work(r.c.Context, conn, job, r.pace, func(ctx context.Context, n int) error {
		defer show()
		return run.Step(ctx, conn, n)
	}, say)
}

// stoppedFilling says why those that are not done are not, and how to go on with each.
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
		all = append(all, fmt.Errorf("interrupted: %d events are %s, nothing is lost and nothing will come twice: %w", events, r.did, context.Canceled))
	}
	if len(all) == 0 {
		return nil
	}
	return &stoppedError{again: strings.Join(again, "\ngo on with: "), err: errors.Join(all...)}
}

// filledJSON is what came of the backfill of one table.
type filledJSON struct {
	Job      uuid.UUID `json:"job"`
	Kind     string    `json:"kind"`
	Table    string    `json:"table"`
	Seen     int64     `json:"seen"`
	Total    int64     `json:"total"` // an estimate
	Inserted int64     `json:"inserted"`
	Done     bool      `json:"done"`
	Continue *string   `json:"continue"` // the command; null when it is done
}

func (r *jobRun) printFilled(list []*jobs.Job) error {
	out := make([]filledJSON, len(list))
	for i, job := range list {
		out[i] = filledJSON{Job: job.ID, Kind: job.Kind, Table: tableOf(job), Seen: job.Last.Seen, Total: job.Total(), Inserted: job.Last.Events, Done: job.Last.Done}
		so := ""
		if !job.Last.Done {
			again := continues(job)
			out[i].Continue, so = &again, " so far"
		}
		if r.asJSON {
			continue
		}
		if _, err := fmt.Fprintf(r.c.App.Writer, "inserted %d events of %s%s, %d rows looked at (job %s)\n", job.Last.Events, out[i].Table, so, job.Last.Seen, job.ID); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if !r.asJSON {
		return nil
	}
	return printJSON(r.c.App.Writer, struct {
		Jobs []filledJSON `json:"jobs"`
	}{out})
}

func tableOf(job *jobs.Job) string {
	spec, err := job.BackfillSpec()
	if err != nil {
		return "?"
	}
	return spec.Table
}

// A board is the progress of several jobs as one. Safe for concurrent use.
type board struct {
	mu           sync.Mutex
	p            *progress
	names, notes []string
	steps        []jobs.Step
	total        int64
}

func newBoard(p *progress, list []*jobs.Job) *board {
	b := &board{p: p, notes: make([]string, len(list)), names: make([]string, len(list)), steps: make([]jobs.Step, len(list))}
	for i, job := range list {
		b.steps[i] = job.Last
		b.total += job.Total()
		p.seen, p.events = p.seen+job.Last.Seen, p.events+job.Last.Events // one that goes on waits from there
		if len(list) > 1 {
			b.names[i] = tableOf(job) + ": "
		}
	}
	p.total = b.total
	return b
}

// show tells how far job i is.
func (b *board) show(i int, step jobs.Step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.steps[i] = step
	var seen, events int64
	for _, s := range b.steps {
		seen, events = seen+s.Seen, events+s.Events
	}
	b.p.show(seen, b.total, events)
}

// wait tells why job i waits, or with an empty note that it goes on.
func (b *board) wait(i int, note string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notes[i] = note; note != "" {
		b.notes[i] = b.names[i] + note
	}
	var all []string
	for _, n := range b.notes {
		if n != "" {
			all = append(all, n)
		}
	}
	b.p.wait(strings.Join(all, "; "))
}
