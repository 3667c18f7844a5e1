package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// quietPolls is how many polls in a row must find nothing before the relay tries to sleep: about 15 ms with the default
// polls. Under load that never happens.
const quietPolls = 5

// planTimeout bounds one plan. The session's statement_timeout is shorter.
const planTimeout = 65 * time.Second

// source passes batches to the publisher in position order: first the ones that are planned already, then the ones that it plans itself. It
// sleeps when there is nothing to plan. One goroutine owns it and, while it runs, the session.
type source struct {
	r    *Relay
	s    *table.Session
	next int64 // position
	out  chan<- []table.Planned

	asked time.Time // when it last checked whether the relay is paused
	woken bool      // since then
}

// errGap reports that the plan continued without us: another relay planned.
var errGap = errors.New("another relay planned in between")

// run returns nil when stop ends, the relay is paused, or somebody else planned. Everything that it has passed on by then is in the plan, and
// the next window finds it there.
func (s *source) run(ctx, stop context.Context) error {
	defer close(s.out)
	s.asked = time.Now() // Relay.holdWhilePaused has just checked
	if paused, err := s.passPlanned(ctx, stop); err != nil || paused {
		return err
	}
	quiet := 0
	for stop.Err() == nil {
		start := time.Now()
		events, err := s.plan(ctx)
		if err != nil {
			return err
		}
		if len(events) > 0 {
			quiet = 0
			crash.Point("planned")
			s.r.stats.batches.Add(1)
			if err := s.pass(ctx, stop, events); err != nil {
				return err
			}
			if err := s.awake(ctx); err != nil {
				return err
			}
		}
		if paused, err := s.isPaused(ctx); err != nil || paused {
			return errors.Join(err, s.awake(ctx))
		}
		if len(events) > 0 {
			continue
		}
		if overtaken, err := s.isOvertaken(ctx, start); err != nil || overtaken {
			return errors.Join(err, s.awake(ctx))
		}
		quiet++
		s.r.stats.polls.Add(1)
		if err := s.rest(ctx, stop, quiet, time.Since(start)); err != nil {
			return err
		}
	}
	return s.awake(ctx)
}

// passPlanned passes on what is planned and not published.
func (s *source) passPlanned(ctx, stop context.Context) (paused bool, err error) {
	for stop.Err() == nil {
		end, err := s.planEnd(ctx) // before the page is read: an event that is planned in between is not gone
		if err != nil {
			return false, err
		}
		var events []table.Planned
		err = s.r.keepAlive(ctx, s.s, func() (err error) { // a page may take longer than the session may be idle
			events, err = s.r.load(ctx, s.next, table.Page{Events: s.r.cfg.BatchEvents, Bytes: s.r.cfg.BatchBytes})
			return err
		})
		if err != nil {
			return false, err
		}
		if events = s.fill(events, end); len(events) == 0 {
			return false, nil
		}
		if err := s.pass(ctx, stop, events); err != nil {
			return false, err
		}
		if paused, err := s.isPaused(ctx); err != nil || paused {
			return paused, err
		}
	}
	return false, nil
}

// planEnd is the last position of the plan.
func (s *source) planEnd(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	cursor, err := s.r.table.Cursor(ctx, s.r.pool)
	return cursor.LastPosition, err
}

// fill adds a marker for each position of a page whose event the table has dropped. A stream that was created again, or lost much of its
// end, needs a message there. The plan reaches end at least.
func (s *source) fill(events []table.Planned, end int64) []table.Planned {
	if n := len(events); n > 0 && events[n-1].Position == s.next+int64(n)-1 {
		return events
	}
	if n := len(events); n > 0 {
		end = events[n-1].Position
	} else {
		end = min(end, s.next+int64(s.r.cfg.BatchEvents)-1) // the table has no event up to here
	}
	filled := make([]table.Planned, 0, max(end-s.next+1, 0))
	for next := s.next; next <= end; next++ {
		if len(events) > 0 && events[0].Position == next {
			filled, events = append(filled, events[0]), events[1:]
			continue
		}
		filled = append(filled, table.Planned{Event: event.Event{Position: next}, Parked: table.ReasonGone})
		s.r.stats.gone.Add(1)
	}
	return filled
}

// isOvertaken reports, after a poll that found nothing, whether somebody else planned what comes next: an audit that repairs gives
// lost events another position. The next window begins with them. It checks as often as isPaused does.
func (s *source) isOvertaken(ctx context.Context, start time.Time) (bool, error) {
	if s.asked.Before(start) {
		return false, nil
	}
	end, err := s.planEnd(ctx)
	return end >= s.next, err
}

func (s *source) plan(ctx context.Context) ([]table.Planned, error) {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	return s.s.Plan(ctx, table.Page{Events: s.r.cfg.BatchEvents, Bytes: s.r.cfg.BatchBytes})
}

// pass gives a batch to the publisher. It pings the session while it waits for the publisher to take the batch.
func (s *source) pass(ctx, stop context.Context, events []table.Planned) error {
	if events[0].Position != s.next {
		return fmt.Errorf("plan: want position %d, got %d: %w", s.next, events[0].Position, errGap)
	}
	tick := time.NewTicker(maxIdle / 2)
	defer tick.Stop()
	for {
		select {
		case s.out <- events:
			s.next = events[len(events)-1].Position + 1
			return nil
		case <-tick.C:
			if err := s.r.ping(ctx, s.s); err != nil {
				return err
			}
		case <-stop.Done():
			return nil
		}
	}
}

// rest waits before the next poll: a little longer each time while awake, and asleep until a wake or the poll. The
// first poll after falling asleep follows at once, since an event may have been committed before the relay held the lock.
func (s *source) rest(ctx, stop context.Context, quiet int, took time.Duration) error {
	if s.s.Asleep() {
		poll := s.r.cfg.SleepPoll
		woken, err := s.s.Wait(stop, poll-time.Duration(rand.Int64N(int64(poll)/4+1)))
		if woken {
			s.woken = true
			s.r.stats.wakes.Add(1)
		}
		return err
	}
	if quiet >= quietPolls {
		sleeps, err := s.sleep(ctx)
		if err != nil || sleeps {
			return err
		}
	}
	pause := s.r.cfg.PollMin << min(quiet-1, 20)
	pause = max(min(pause, s.r.cfg.PollMax), took) // at least as long as the poll took, so that slow polls cannot occupy a core
	woken, err := s.s.Wait(stop, pause)
	s.woken = s.woken || woken
	return err
}

func (s *source) sleep(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	sleeps, err := s.s.Sleep(ctx)
	s.r.stats.asleep.Store(sleeps)
	return sleeps, err
}

func (s *source) awake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s.r.stats.asleep.Store(false)
	return s.s.Awake(ctx)
}
