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

// quietLooks is how many looks in a row find nothing before the relay tries to sleep: with the default poll about
// 15 ms. Under load it never comes to that.
const quietLooks = 5

// planTimeout bounds a look at the whole table; the session's statement_timeout comes before.
const planTimeout = 65 * time.Second

// source hands batches out in position order: first what is planned already, then what it plans itself, sleeping in
// between. One goroutine owns it and, while it runs, the session.
type source struct {
	r    *Relay
	s    *table.Session
	next int64 // position
	out  chan<- []table.Planned

	asked time.Time // when it last asked whether the relay is paused
	woken bool      // since then
}

// errGap says that the plan went on without us: another relay planned.
var errGap = errors.New("another relay planned in between")

// run ends, with nil, when stop does, the relay is paused, or somebody else planned; what it has handed out by then is planned,
// and will be found again.
func (s *source) run(ctx, stop context.Context) error {
	defer close(s.out)
	s.asked = time.Now() // Relay.hold did
	if paused, err := s.replay(ctx, stop); err != nil || paused {
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
			if err := s.hand(ctx, stop, events); err != nil {
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

// replay hands out what was planned and not published.
func (s *source) replay(ctx, stop context.Context) (paused bool, err error) {
	for stop.Err() == nil {
		end, err := s.planEnd(ctx) // before the page is read: what somebody plans in between is not gone
		if err != nil {
			return false, err
		}
		var events []table.Planned
		err = s.r.alive(ctx, s.s, func() (err error) { // a page may take longer than PostgreSQL lets the session rest
			events, err = s.r.load(ctx, s.next, table.Page{Events: s.r.cfg.BatchEvents, Bytes: s.r.cfg.BatchBytes})
			return err
		})
		if err != nil {
			return false, err
		}
		if events = s.fill(events, end); len(events) == 0 {
			return false, nil
		}
		if err := s.hand(ctx, stop, events); err != nil {
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

// fill puts a marker at each position of a page, of a plan that went on to end at least, whose event the table has dropped: a stream
// that was made again, or went far back, needs something there.
func (s *source) fill(events []table.Planned, end int64) []table.Planned {
	if n := len(events); n > 0 && events[n-1].Position == s.next+int64(n)-1 {
		return events
	}
	if n := len(events); n > 0 {
		end = events[n-1].Position
	} else {
		end = min(end, s.next+int64(s.r.cfg.BatchEvents)-1) // so far there is none
	}
	filled := make([]table.Planned, 0, max(end-s.next+1, 0))
	for next := s.next; next <= end; next++ {
		if len(events) > 0 && events[0].Position == next {
			filled, events = append(filled, events[0]), events[1:]
			continue
		}
		filled = append(filled, table.Planned{Event: event.Event{Position: next}, Parked: table.Gone})
		s.r.stats.gone.Add(1)
	}
	return filled
}

// isOvertaken says, after a look that found nothing, that somebody else planned what comes next: an audit, which gives events that the stream
// has lost another position. The next window begins with that. It is asked as often as isPaused asks.
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

// hand gives a batch to the publisher, and keeps the session alive while that is busy.
func (s *source) hand(ctx, stop context.Context, events []table.Planned) error {
	if events[0].Position != s.next {
		return fmt.Errorf("plan: position %d came where %d belongs: %w", events[0].Position, s.next, errGap)
	}
	tick := time.NewTicker(longestRest / 2)
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

// rest waits for the next look: a little longer each time while awake, then asleep until a wake or the poll. The
// first look after falling asleep comes at once, since a commit may have come before the lock.
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
	if quiet >= quietLooks {
		sleeps, err := s.sleep(ctx)
		if err != nil || sleeps {
			return err
		}
	}
	wait := s.r.cfg.PollMin << min(quiet-1, 20)
	wait = max(min(wait, s.r.cfg.PollMax), took) // a look that skims over many uncommitted rows must not take a core
	woken, err := s.s.Wait(stop, wait)
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
