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

// Pace says how fast a job may be. The zero value of a field means its default.
type Pace struct {
	Stream     string // whose backlog is looked at
	Rate       int    // events per second, at most. Defaults to 5000; -1 for no limit
	Page       int    // events in a step, at most. Defaults to 1000. Steps that take long get fewer
	MaxPending int64  // events that wait for the relay: with more the job waits. Defaults to 20,000; -1 for no limit

	Together *Throttle // of jobs that have the rate together, made with NewThrottle. Defaults to one for this job
}

// A Throttle spreads events over time. Safe for concurrent use.
type Throttle struct {
	rate int // a second; -1 for no limit

	mu   sync.Mutex
	next time.Time // when what was done is paid for
}

// NewThrottle makes one of so many events a second; -1 for no limit, 0 for the default.
func NewThrottle(rate int) *Throttle {
	return &Throttle{rate: cmp.Or(rate, defaultRate)}
}

// after says how long to wait after n events, whose step took so long. Steps have a tenth of the time at most, those of all jobs together:
// a database that is slow, or has much else to do, has less of them. What could not be done in time is made up for a little, what
// was waited is not.
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
	shareOfTime  = 10                     // one part in steps, the others between them
	quickStep    = 100 * time.Millisecond // below it a step may be twice as large
	slowStep     = 400 * time.Millisecond // above it the next one is half as large
	stepTimeout  = 2 * time.Minute
	smallestPage = 16
	lookEvery    = 500 * time.Millisecond // for pauses and the backlog
)

func (p *Pace) setDefaults() {
	p.Rate = cmp.Or(p.Rate, defaultRate)
	if p.Together == nil {
		p.Together = NewThrottle(p.Rate)
	}
	p.Page = cmp.Or(p.Page, 1000)
	p.MaxPending = cmp.Or(p.MaxPending, 20_000)
	if p.Rate > 0 {
		p.Page = max(min(p.Page, p.Rate), 1) // not more than a second's worth at once
	}
}

// Work does a job step by step until it is done, ctx ends, or step fails; the step in hand is finished. Between steps it keeps the
// pace, and waits while a person has paused the job or the relay has too much to do: say is told why, or nothing once it goes
// on. One goroutine. Any number of processes may work at one job: all but one get ErrStepTaken.
func (t *Store) Work(ctx context.Context, db outbox.DB, job *Job, pace Pace, step func(ctx context.Context, n int) error, say func(note string)) error {
	pace.setDefaults()
	var looked time.Time
	page := min(pace.Page, 128)
	for !job.Last.Done {
		if time.Since(looked) >= lookEvery {
			note, err := t.heldUp(ctx, db, job, &pace)
			if err != nil {
				return err
			}
			say(note)
			if looked = time.Now(); note != "" {
				looked = time.Time{}
				if err := wait.For(ctx, lookEvery); err != nil {
					return err
				}
				continue
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		start, before := time.Now(), job.Last.Events
		hand, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
		err := step(hand, page)
		cancel()
		if err != nil {
			return err
		}
		took := time.Since(start)
		switch {
		case took > slowStep:
			page = max(page/2, min(smallestPage, pace.Page))
		case took < quickStep:
			page = min(page*2, pace.Page)
		}
		if job.Last.Done {
			break
		}
		if err := wait.For(ctx, pace.Together.after(job.Last.Events-before, took)); err != nil {
			return err
		}
	}
	return nil
}

// heldUp says why a job has to wait; nothing when it has not.
func (t *Store) heldUp(ctx context.Context, db outbox.DB, job *Job, pace *Pace) (string, error) {
	p, paused, err := t.Paused(ctx, db, table.PauseJob(job.ID))
	if err != nil {
		return "", err
	}
	if paused {
		return fmt.Sprintf("paused by %s: %s; go on with: outbox resume --job %s", p.Author, p.Reason, job.ID), nil
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
		return fmt.Sprintf("%d events wait, and no relay runs; start one: outbox relay", s.Pending), nil
	}
	return fmt.Sprintf("%d events wait for the relay", s.Pending), nil
}
