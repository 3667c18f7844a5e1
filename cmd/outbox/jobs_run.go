package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// handOver bounds the wait for another session that performs the job. The session of a killed client ends with its
// step.
const handOver = 10 * time.Second

// jobFlags are the flags of every command that performs a job: which one to continue, and how fast.
func jobFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "job", Usage: "`ID` of an interrupted job to continue; outbox jobs lists them"},
		&cli.IntFlag{Name: "rate", Value: 5000, Usage: "`N` events per second, at most; 0: no limit"},
		&cli.Int64Flag{Name: "max-pending", Value: 20_000, Usage: "`N` pending events above which the job waits for the relay; 0: no limit"},
	}
}

// A jobRun is a job that a command performs.
type jobRun struct {
	*session
	kind string // of job, and the name of the command
	did  string // what it did to events: copied, inserted
	id   uuid.UUID
	pace jobs.Pace
}

// A jobStep performs the next part of a job, of at most n events.
type jobStep func(ctx context.Context, db outbox.DB, job *jobs.Job, n int) error

// readJob reads the flags of jobFlags. fixed are the flags of the command that a job keeps from its start, so that they
// exclude --job.
func readJob(s *session, kind, did string, fixed []cli.Flag) (r *jobRun, err error) {
	r = &jobRun{session: s, kind: kind, did: did, pace: jobs.Pace{
		Stream: s.set.Text("stream"), Rate: offIfZero(s.c.Int("rate")), MaxPending: offIfZero(s.c.Int64("max-pending")),
	}}
	if s.c.Int("rate") < 0 || s.c.Int64("max-pending") < 0 {
		return nil, exit.Usagef(s.c, "want --rate and --max-pending of 0 or more")
	}
	text := s.c.String("job")
	if !s.c.IsSet("job") {
		return r, nil
	}
	if r.id, err = uuid.Parse(text); err != nil {
		return nil, exit.Usagef(s.c, "flag --job: want a UUID, got %q", text)
	}
	for _, f := range fixed {
		if name := f.Names()[0]; s.c.IsSet(name) {
			return nil, exit.Usagef(s.c, "--%s and --job exclude each other: a job keeps the flags with which it began", name)
		}
	}
	return r, nil
}

// resumes reports whether --job names a job that began before.
func (r *jobRun) resumes() bool { return r.id != uuid.Nil }

// find reads the job of --job. It waits up to handOver for another session that still performs it.
func (r *jobRun) find(ctx context.Context) (*jobs.Job, error) {
	job, err := jobs.In(r.table).Job(ctx, r.pool, r.id)
	if err != nil {
		return nil, err
	}
	if job.Kind != r.kind {
		return nil, exit.Usagef(r.c, "job %s is a %s; run: %s", job.ID, job.Kind, continues(job))
	}
	began := job.Last.N
	for until := time.Now().Add(handOver); job.Running && !job.Last.Done && time.Now().Before(until); {
		if err := wait.For(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
		if job, err = jobs.In(r.table).Job(ctx, r.pool, r.id); err != nil {
			return nil, err
		}
	}
	if job.Running && !job.Last.Done && job.Last.N > began+1 {
		return nil, fmt.Errorf("%s %s: %w; run: outbox jobs", job.Kind, job.ID, jobs.ErrStepTaken)
	}
	return job, nil
}

// work performs the job until it is done, reports its progress, and prints the outcome. Ctrl-C ends it after the
// current step, with an error that names the command that continues it.
func (r *jobRun) work(ctx context.Context, job *jobs.Job, step jobStep) error {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return r.stopped(job, exit.Unreached(exit.Postgres, err))
	}
	defer conn.Release()
	if err := jobs.In(r.table).Announce(ctx, conn, job); err != nil {
		return r.stopped(job, err)
	}
	r.notef("job %s; to continue it after an interruption, run: %s\n", job.ID, r.again(job))
	p := term.NewProgress(r.c.App.ErrWriter, r.did)
	err = jobs.In(r.table).Work(ctx, conn, job, r.pace, func(ctx context.Context, n int) error {
		err := step(ctx, conn, job, n)
		p.Show(job.Last.Scanned, job.Total(), job.Last.Events)
		return err
	}, p.Wait)
	p.End()
	return errors.Join(r.printJob(job), r.stopped(job, err))
}

// printJob prints the outcome. In JSON the number of events has the name of what was done to them.
func (r *jobRun) printJob(job *jobs.Job) error {
	out := map[string]any{"job": job.ID, "kind": job.Kind, "scanned": job.Last.Scanned, "total": job.Total(), r.did: job.Last.Events, "done": job.Last.Done, "continue": nil}
	end := ""
	if !job.Last.Done {
		out["continue"], end = continues(job), " so far"
	}
	return r.print(out, func(w io.Writer) error {
		return printf(w, "%s %d events%s, %d scanned (job %s)\n", r.did, job.Last.Events, end, job.Last.Scanned, job.ID)
	})
}

// A stoppedError is the reason why a job ended before it was done. Its finished steps are kept.
type stoppedError struct {
	again string // the command that continues it
	err   error
}

func (e *stoppedError) Error() string { return e.err.Error() }
func (e *stoppedError) Unwrap() error { return e.err }

// Hint is the last line on standard error.
func (e *stoppedError) Hint() string { return "to continue, run: " + e.again }

func (r *jobRun) stopped(job *jobs.Job, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		err = fmt.Errorf("interrupted after %d events were %s; nothing is lost, and no event will be sent twice", job.Last.Events, r.did)
	}
	return &stoppedError{again: r.again(job), err: err}
}

// again is the command that continues the job with the flags of this one.
func (r *jobRun) again(job *jobs.Job) string {
	text := continues(job)
	for _, name := range []string{"config", "schema", "stream", "rate", "max-pending"} {
		if r.c.IsSet(name) {
			text += " --" + name + " " + shellWord(fmt.Sprint(r.c.Value(name)))
		}
	}
	return text
}

// continues is the command that continues a job.
func continues(job *jobs.Job) string { return "outbox " + job.Kind + " --job " + job.ID.String() }

// shellWord quotes a text for a shell if it needs quotes.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:,@+=", r)
	}
	if text != "" && strings.TrimFunc(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
