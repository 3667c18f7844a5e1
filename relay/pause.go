package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

const (
	// pausePoll is how often a relay that is awake, or paused, checks whether it is paused.
	pausePoll = time.Second
	// pausePollAsleep is the same for a relay that sleeps. Pausing a relay wakes it.
	pausePollAsleep = 10 * time.Second
)

// A person pauses the relay by a row in outbox.pause. The row applies to whoever leads, and outlives every relay. A source that
// finds it takes no more, so that its window ends when everything in flight is acknowledged.

// holdWhilePaused returns when the relay is not paused, or ctx ends. Meanwhile the relay leads, listens and keeps its session alive.
// Writers do not notify then, but pausing and resuming do.
func (r *Relay) holdWhilePaused(ctx context.Context, s *table.Session) error {
	defer r.stats.paused.Store(nil)
	for ctx.Err() == nil {
		p, paused, err := r.readPause(ctx, s)
		if err != nil || !paused {
			if err == nil && r.stats.paused.Load() != nil {
				r.log.Info("no longer paused, resuming")
			}
			return err
		}
		if old := r.stats.paused.Swap(&p); old == nil || *old != p {
			r.log.Warn("paused, publishing nothing until outbox resume --relay", "reason", p.Reason, "author", p.Author, "since", p.Since, "until", untilText(p.Until))
		}
		crash.Point("paused")
		if _, err := s.Wait(ctx, pausePoll); err != nil {
			return err
		}
	}
	return nil
}

func untilText(until time.Time) string {
	if until.IsZero() {
		return "resumed"
	}
	return until.Format(time.RFC3339)
}

func (r *Relay) readPause(ctx context.Context, s *table.Session) (table.Pause, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.Paused(ctx)
}

// isPaused runs after each poll. It reads the pause from the database if the last read is long ago, or if the relay was woken: pausing may
// have woken it.
func (s *source) isPaused(ctx context.Context) (bool, error) {
	every := pausePoll
	if s.s.Asleep() {
		every = pausePollAsleep
	}
	if !s.woken && time.Since(s.asked) < every {
		return false, nil
	}
	s.asked, s.woken = time.Now(), false
	_, paused, err := s.r.readPause(ctx, s.s)
	return paused, err
}
