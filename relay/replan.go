package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// ever is a time before every plan.
var ever = time.Unix(0, 0)

// replanPage is how many positions are looked at at a time.
const replanPage = 4096

// replan gives the events before the last one found, whose own messages are not there, a new position at the end.
func (r *Relay) replan(ctx context.Context, f *found) error {
	n := 0
	for first := f.low + 1; first < f.last; first++ {
		if f.have[first] {
			continue
		}
		last := first
		for last+1 < f.last && !f.have[last+1] {
			last++
		}
		moved, err := r.displace(ctx, first, last, ever)
		if err != nil {
			return err
		}
		n += moved
		first = last
	}
	if n > 0 {
		r.log.Warn("foreign messages stand where events belong: those are published at the end", "stream", r.cfg.Stream, "n", n)
	}
	return nil
}

// displace gives the events at positions first through last, planned since a time, a new position at the end, unless
// they have one or are parked. It says how many those are.
func (r *Relay) displace(ctx context.Context, first, last int64, since time.Time) (n int, err error) {
	for ; first <= last; first += replanPage {
		places, err := r.unparked(ctx, first, min(last, first+replanPage-1), since)
		if err != nil {
			return n, err
		}
		if len(places) == 0 {
			continue
		}
		replan, cancel := context.WithTimeout(ctx, queryTimeout)
		err = r.table.Replan(replan, r.pool, places, r.cfg.Name)
		cancel()
		if err != nil {
			return n, err
		}
		crash.Point("replanned")
		n += len(places)
	}
	return n, nil
}

func (r *Relay) unparked(ctx context.Context, first, last int64, since time.Time) ([]table.Place, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return r.table.Unparked(ctx, r.pool, first, last, since)
}
