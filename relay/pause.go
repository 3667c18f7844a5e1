package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

const (
	// pauseLook is how often a relay that is awake, or paused, asks whether it is paused.
	pauseLook = time.Second
	// idleLook is how often one asks that sleeps and is not woken. Whoever pauses wakes it.
	idleLook = 10 * time.Second
)

// A person pauses the relay by a row in outbox.pause, which is the truth: it holds for whoever leads, and outlives every
// relay. A source that finds it takes no more, so that its window ends when all in hand is acknowledged, and no other is
// opened before it is gone.

// hold returns when the relay is not paused, or ctx ends. Meanwhile it leads, listens and keeps the session alive. Writers do
// not notify, but those who pause and resume do.
func (r *Relay) hold(ctx context.Context, s *table.Session) error {
	defer r.stats.paused.Store(nil)
	for ctx.Err() == nil {
		p, paused, err := r.askPause(ctx, s)
		if err != nil || !paused {
			if err == nil && r.stats.paused.Load() != nil {
				r.log.Info("going on: no longer paused")
			}
			return err
		}
		if old := r.stats.paused.Swap(&p); old == nil || *old != p {
			r.log.Warn("paused: nothing is published until outbox resume --relay", "reason", p.Reason, "author", p.Author, "since", p.Since, "until", untilText(p.Until))
		}
		crash.Point("paused")
		if _, err := s.Wait(ctx, pauseLook); err != nil {
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

func (r *Relay) askPause(ctx context.Context, s *table.Session) (table.Pause, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.Paused(ctx)
}

// isPaused is asked after a look, and asks the database when that was not done for a while, or when the relay was woken: that may
// have been the one who pauses.
func (s *source) isPaused(ctx context.Context) (bool, error) {
	every := pauseLook
	if s.s.Asleep() {
		every = idleLook
	}
	if !s.woken && time.Since(s.asked) < every {
		return false, nil
	}
	s.asked, s.woken = time.Now(), false
	_, paused, err := s.r.askPause(ctx, s.s)
	return paused, err
}
