package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// handOver is how long a job is waited for that another session still does: one whose client was killed ends with its step.
const handOver = 10 * time.Second

// jobFlags are those of the commands that do a job: which one to go on with, and how fast.
func jobFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "job", Usage: "`ID` of one that was interrupted: go on with it, as outbox jobs lists it"},
		&cli.IntFlag{Name: "rate", Value: 5000, Usage: "`N` events a second, at most; 0: as fast as possible"},
		&cli.Int64Flag{Name: "max-pending", Value: 20_000, Usage: "`N` events that may wait for the relay: with more it waits, too; 0: any number"},
	}
}

// A jobRun is a job in the hands of a command.
type jobRun struct {
	c      *cli.Context
	kind   string // of job, which is the name of the command, too
	did    string // to events: copied, inserted
	id     uuid.UUID
	pace   jobs.Pace
	asJSON bool
}

// A jobStep does the next part of a job, n events at most.
type jobStep func(ctx context.Context, db outbox.DB, job *jobs.Job, n int) error

// readJob reads the flags of jobs. what are the other flags of the command: they were decided when the job began, and go not with --job.
func readJob(c *cli.Context, s settings, kind, did string, what []cli.Flag) (r *jobRun, err error) {
	r = &jobRun{c: c, kind: kind, did: did, pace: jobs.Pace{Stream: s.text("stream"), Rate: c.Int("rate"), MaxPending: c.Int64("max-pending")}}
	if r.asJSON, err = wantsJSON(c); err != nil {
		return nil, err
	}
	if r.pace.Rate < 0 || r.pace.MaxPending < 0 {
		return nil, usagef(c, "--rate and --max-pending want 0 or more")
	}
	if r.pace.Rate == 0 {
		r.pace.Rate = -1
	}
	if r.pace.MaxPending == 0 {
		r.pace.MaxPending = -1
	}
	text := c.String("job")
	if !c.IsSet("job") {
		return r, nil
	}
	if r.id, err = uuid.Parse(text); err != nil {
		return nil, usagef(c, "flag --job %q: %w", text, err)
	}
	for _, f := range what {
		if name := f.Names()[0]; c.IsSet(name) {
			return nil, usagef(c, "--%s does not go with --job, which goes on with what was asked for when it began", name)
		}
	}
	return r, nil
}

// resumes says that the job is one that began before.
func (r *jobRun) resumes() bool { return r.id != uuid.Nil }

// find reads the job to go on with, and waits a little for a session that still does it.
func (r *jobRun) find(ctx context.Context, tbl *table.Table, db outbox.DB) (*jobs.Job, error) {
	job, err := jobs.In(tbl).Job(ctx, db, r.id)
	if err != nil {
		return nil, err
	}
	if job.Kind != r.kind {
		return nil, usagef(r.c, "job %s is a %s; run: %s", job.ID, job.Kind, continues(job))
	}
	began := job.Last.N
	for until := time.Now().Add(handOver); job.Running && !job.Last.Done && time.Now().Before(until); {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
		if job, err = jobs.In(tbl).Job(ctx, db, r.id); err != nil {
			return nil, err
		}
	}
	if job.Running && !job.Last.Done && job.Last.N > began+1 {
		return nil, fmt.Errorf("%s %s: %w; see: outbox jobs", job.Kind, job.ID, jobs.ErrStepTaken)
	}
	return job, nil
}

// work does the job until it is done, tells how far it is, and prints what came of it. Ctrl-C ends it after the step in hand, with an
// error that names the command to go on with.
func (r *jobRun) work(tbl *table.Table, pool *pgxpool.Pool, job *jobs.Job, step jobStep) error {
	conn, err := pool.Acquire(r.c.Context)
	if err != nil {
		return r.stopped(job, &serverError{postgres, err})
	}
	defer conn.Release()
	if err := jobs.In(tbl).Announce(r.c.Context, conn, job); err != nil {
		return r.stopped(job, err)
	}
	fmt.Fprintf(r.c.App.ErrWriter, "job %s; if it is interrupted, go on with: %s\n", job.ID, r.again(job)) //nolint:errcheck // only a remark
	p := newProgress(r.c.App.ErrWriter, r.did)
	err = jobs.In(tbl).Work(r.c.Context, conn, job, r.pace, func(ctx context.Context, n int) error {
		err := step(ctx, conn, job, n)
		p.show(job.Last.Seen, job.Total(), job.Last.Events)
		return err
	}, p.wait)
	p.end()
	return errors.Join(r.print(job), r.stopped(job, err))
}

// print is the outcome. In JSON the events are under what was done to them.
func (r *jobRun) print(job *jobs.Job) error {
	if r.asJSON {
		out := map[string]any{"job": job.ID, "kind": job.Kind, "seen": job.Last.Seen, "total": job.Total(), r.did: job.Last.Events, "done": job.Last.Done, "continue": nil}
		if !job.Last.Done {
			out["continue"] = continues(job)
		}
		return printJSON(r.c.App.Writer, out)
	}
	end := ""
	if !job.Last.Done {
		end = " so far"
	}
	_, err := fmt.Fprintf(r.c.App.Writer, "%s %d events%s, %d looked at (job %s)\n", r.did, job.Last.Events, end, job.Last.Seen, job.ID)
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// A stoppedError is why a job ended before it was done. What was done is kept.
type stoppedError struct {
	again string // the command that goes on
	err   error
}

func (e *stoppedError) Error() string { return e.err.Error() }
func (e *stoppedError) Unwrap() error { return e.err }

// hint is the last line on standard error.
func (e *stoppedError) hint() string { return "go on with: " + e.again }

func (r *jobRun) stopped(job *jobs.Job, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		err = fmt.Errorf("interrupted: %d events are %s, nothing is lost and nothing will come twice", job.Last.Events, r.did)
	}
	return &stoppedError{again: r.again(job), err: err}
}

// again is the command that goes on with the job as this one did.
func (r *jobRun) again(job *jobs.Job) string {
	text := continues(job)
	for _, name := range []string{"config", "schema", "stream", "rate", "max-pending"} {
		if r.c.IsSet(name) {
			text += " --" + name + " " + shellWord(fmt.Sprint(r.c.Value(name)))
		}
	}
	return text
}

// continues is the command that goes on with a job.
func continues(job *jobs.Job) string { return "outbox " + job.Kind + " --job " + job.ID.String() }

// shellWord quotes a text for a shell, if it has to be.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:,@+=", r)
	}
	if text != "" && strings.TrimFunc(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// sleep waits, or not longer than ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
