package jobs

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Pace limits the speed of a job. The zero value of a field means its default.
type Pace struct {
	Stream     string // whose backlog counts. Required, unless MaxPending is -1
	Rate       int    // events per second, at most. Defaults to 5000; -1 for no limit
	Page       int    // events per step, at most. Defaults to 1000; fewer after steps that took long
	MaxPending int64  // pending events above which the job waits for the relay. Defaults to 20,000; -1 for no limit

	Throttle *Throttle // shared with other jobs, whose rates then count together. Defaults to one of this job, with Rate
}

// A Throttle limits the rate of one or more jobs. Safe for concurrent use.
type Throttle struct {
	rate int // events per second; -1 for no limit

	mu   sync.Mutex
	next time.Time // when the next step may begin
}

// NewThrottle returns a throttle with a rate in events per second: -1 for no limit, 0 for the default of Pace.Rate.
func NewThrottle(rate int) *Throttle {
	return &Throttle{rate: cmp.Or(rate, defaultRate)}
}

// after returns how long to wait after a step that inserted n events. Steps take at most a tenth of the time, those
// of all jobs that share the throttle together, so that a slow or busy database gets fewer of them. A job that fell
// behind its rate may catch up for makeUp; a pause is not made up for.
func (r *Throttle) after(n int64, took time.Duration) time.Duration {
	if r.rate < 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if earliest := now.Add(-makeUp); r.next.Before(earliest) {
		r.next = earliest
	}
	r.next = r.next.Add(max(time.Duration(float64(n)/float64(r.rate)*float64(time.Second)), shareOfTime*took))
	return r.next.Sub(now)
}

const (
	defaultRate  = 5000
	makeUp       = 200 * time.Millisecond
	shareOfTime  = 10                     // steps take one part of the time in so many
	fastStep     = 100 * time.Millisecond // after a faster step the next one is twice as large
	slowStep     = 400 * time.Millisecond // after a slower step the next one is half as large
	stepTimeout  = 2 * time.Minute
	smallestPage = 16
	checkEvery   = 500 * time.Millisecond // between checks of pauses and of the backlog
)

func (p *Pace) setDefaults() {
	p.Rate = cmp.Or(p.Rate, defaultRate)
	if p.Throttle == nil {
		p.Throttle = NewThrottle(p.Rate)
	}
	p.Page = cmp.Or(p.Page, 1000)
	p.MaxPending = cmp.Or(p.MaxPending, 20_000)
	if p.Rate > 0 {
		p.Page = max(min(p.Page, p.Rate), 1) // not more than one second's worth
	}
}

// Work runs a job step by step until it is done, ctx ends, or step returns an error. When ctx ends, it lets the
// current step finish. Between steps it keeps the pace, and waits while the job is paused or too many events are
// pending. It calls note with the reason of a wait, and with "" when it continues.
//
// step runs one step of at most n events, and updates job.Last. Several processes may work on one job: for each step
// one of them succeeds, and the others get ErrStepTaken. Only one goroutine may work on a *Job.
func (t *Store) Work(ctx context.Context, db outbox.DB, job *Job, pace Pace, step func(ctx context.Context, n int) error, note func(reason string)) error {
	pace.setDefaults()
	var checked time.Time
	page := min(pace.Page, 128)
	for !job.Last.Done {
		if time.Since(checked) >= checkEvery {
			reason, err := t.mustWait(ctx, db, job, &pace)
			if err != nil {
				return err
			}
			note(reason)
			if checked = time.Now(); reason != "" {
				checked = time.Time{}
				if err := wait.For(ctx, checkEvery); err != nil {
					return err
				}
				continue
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		start, before := time.Now(), job.Last.Events
		current, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
		err := step(current, page)
		cancel()
		if err != nil {
			return err
		}
		took := time.Since(start)
		switch {
		case took > slowStep:
			page = max(page/2, min(smallestPage, pace.Page))
		case took < fastStep:
			page = min(page*2, pace.Page)
		}
		if job.Last.Done {
			break
		}
		if err := wait.For(ctx, pace.Throttle.after(job.Last.Events-before, took)); err != nil {
			return err
		}
	}
	return nil
}

// mustWait returns why a job must wait, or "" if it need not.
func (t *Store) mustWait(ctx context.Context, db outbox.DB, job *Job, pace *Pace) (string, error) {
	p, paused, err := t.Paused(ctx, db, table.PauseJob(job.ID))
	if err != nil {
		return "", err
	}
	if paused {
		return fmt.Sprintf("paused by %s: %s; to continue, run: outbox resume --job %s", p.Author, p.Reason, job.ID), nil
	}
	if pace.MaxPending < 0 {
		return "", nil
	}
	s, err := t.Status(ctx, db, pace.Stream)
	if err != nil {
		return "", err
	}
	switch {
	case s.Pending <= pace.MaxPending:
		return "", nil
	case s.Leader == "":
		return fmt.Sprintf("%d events are pending and no relay runs; start one: outbox relay", s.Pending), nil
	}
	return fmt.Sprintf("%d events are pending", s.Pending), nil
}
