package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// maxHoles is how many deleted sequences of a stream the relay checks one by one; with more, it checks none.
const maxHoles = 1_000_000

// holes returns the sequences that should have a message and have none, as far as no limit of the stream explains that: after a
// purge, a delete, or a truncated block of a file (which leaves the end of the stream where it was), and those of the suspects
// that still have none.
func (r *Relay) holes(ctx context.Context, s *stream.State, suspects stream.Spans) (out stream.Spans, err error) {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	if s.First > 1 && !s.DropsOld {
		out.Add(1, s.First-1)
	}
	for _, span := range suspects {
		for sequence := max(span.First, s.First); sequence <= span.Last; sequence++ {
			m, err := r.stream.Message(ctx, sequence)
			if err != nil {
				return nil, err
			}
			if m == nil {
				out.Add(sequence, sequence)
			}
		}
	}
	if s.Deleted == 0 || s.DropsPerSubject {
		return out, nil
	}
	if s.Deleted > maxHoles {
		r.log.Error("stream has too many deleted messages to check each, checking none; run outbox audit", "stream", r.cfg.Stream, "n", s.Deleted)
		return out, nil
	}
	sequences, err := r.stream.Deleted(ctx)
	if err != nil {
		return nil, err
	}
	for _, sequence := range sequences {
		out.Add(sequence, sequence)
	}
	return out, nil
}

// repairRemoved applies Config.OnRemoved to messages that were removed from the stream. A message cannot be put back at its
// sequence.
func (r *Relay) repairRemoved(ctx context.Context, e *evidence, d *decision) error {
	if !d.repaired {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	n := 0
	for _, hole := range d.removed {
		affected, err := r.repairHole(ctx, e, hole)
		if err != nil {
			return err
		}
		n += affected
	}
	r.mem.shape, r.mem.suspects = e.shape, nil
	r.stats.removed.Add(uint64(n))
	return nil
}

// repairHole repairs one hole and returns how many events the hole affects.
func (r *Relay) repairHole(ctx context.Context, e *evidence, hole removal) (n int, err error) {
	since := ever
	if hole.expires { // with a minute for the difference between our clock and the server's
		since = e.now.Add(time.Minute - e.state.MaxAge)
		// The table may keep events for days longer: begin at the first position planned since.
		query, cancel := context.WithTimeout(ctx, queryTimeout)
		first, err := r.table.PlannedSince(query, r.pool, since, hole.last)
		cancel()
		if err != nil {
			return 0, err
		}
		hole.first = max(hole.first, first)
	}
	if r.cfg.OnRemoved == RemovedRepublish {
		if n, err = r.resend(ctx, hole.run, since); n > 0 {
			r.log.Warn("messages were removed from the stream, publishing them again at the end", "stream", r.cfg.Stream, "n", n, "sequence", hole.sequence)
		}
		return n, err
	}
	err = r.eachUnparked(ctx, hole.run, since, func(page []table.PlannedRow) error {
		n += len(page)
		if r.cfg.OnRemoved == RemovedHalt {
			return fmt.Errorf("%w: %s lost messages from sequence %d on; run outbox relay with --on-removed republish to publish them again, or with --on-removed accept to leave them removed",
				ErrRemoved, r.cfg.Stream, hole.sequence)
		}
		return nil
	})
	if err == nil && n > 0 {
		r.log.Warn("messages were removed from the stream, leaving them removed", "stream", r.cfg.Stream, "n", n, "sequence", hole.sequence)
	}
	return n, err
}
