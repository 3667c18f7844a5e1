package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// maxHoles is how many holes of a stream are looked at one by one; beyond, none is.
const maxHoles = 1_000_000

// span is a run of sequences, both ends included.
type span struct{ first, last uint64 }

// removed is what a stream has lost but its end: the messages before the first, and holes behind it. One goroutine,
// the one in Run, owns it.
type removed struct {
	stream  table.Stream
	first   uint64 // sequence
	deleted int    // number of holes
}

// heal gives events whose messages the stream has lost, though no limit of its own explains it, a new position at the
// end: a purge, a delete, a truncated block of a file (which leaves the end of the stream where it was, and the messages out),
// and what reading it showed to be unreadable (suspects). A message at a taken sequence cannot be put back.
func (r *Relay) heal(ctx context.Context, t *target, log baseLog, suspects []span) error {
	now := removed{stream: t.stream, first: t.first, deleted: t.deleted}
	if len(suspects) == 0 && now == r.removed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	holes, err := r.holes(ctx, t, suspects)
	if err != nil {
		return err
	}
	oldest, err := r.oldest(ctx)
	if err != nil {
		return err
	}
	n := 0
	for _, s := range holes {
		moved, err := r.vanished(ctx, t, log, s, oldest)
		if err != nil {
			return err
		}
		n += moved
	}
	r.removed = now
	if n > 0 {
		r.stats.removed.Add(uint64(n))
	}
	return nil
}

// holes lists the sequences that should have a message and have none, as far as no limit of the stream explains that.
func (r *Relay) holes(ctx context.Context, t *target, suspects []span) (spans, error) {
	var out spans
	if t.first > 1 && !t.dropsOld {
		out.addRun(1, t.first-1)
	}
	for _, s := range suspects {
		for sequence := max(s.first, t.first); sequence <= s.last; sequence++ {
			m, err := r.message(ctx, sequence)
			if err != nil {
				return nil, err
			}
			if m == nil {
				out.addRun(sequence, sequence)
			}
		}
	}
	if t.deleted == 0 || t.dropsPerSubject {
		return out, nil
	}
	if t.deleted > maxHoles {
		r.log.Error("stream has too many holes to look at each", "stream", r.cfg.Stream, "n", t.deleted)
		return out, nil
	}
	sequences, err := r.deleted(ctx)
	if err != nil {
		return nil, err
	}
	for _, sequence := range sequences {
		out.addRun(sequence, sequence)
	}
	return out, nil
}

// vanished gives what belongs at a span of sequences a new position, or does what else Config.OnRemoved says. The table has
// no position before oldest.
func (r *Relay) vanished(ctx context.Context, t *target, log baseLog, s span, oldest int64) (n int, err error) {
	before, _ := log.positionAt(s.first - 1)
	last, _ := log.positionAt(s.last)
	first := max(before+1, log.first(), oldest)
	since := ever
	if t.maxAge > 0 && s.first == 1 { // what is older may have expired, by a clock that is not quite the table's
		since = time.Now().Add(time.Minute - t.maxAge)
		planned, err := r.plannedSince(ctx, since, last) // a table that keeps events for longer has days of them before
		if err != nil {
			return 0, err
		}
		first = max(first, planned)
	}
	if r.cfg.OnRemoved == Republish {
		if n, err = r.displace(ctx, first, last, since); n > 0 {
			r.log.Warn("messages were removed from the stream: publishing them again at the end", "stream", r.cfg.Stream, "n", n, "sequence", s.first)
		}
		return n, err
	}
	for ; first <= last; first += replanPage {
		places, err := r.unparked(ctx, first, min(last, first+replanPage-1), since)
		if err != nil {
			return n, err
		}
		n += len(places)
		if n > 0 && r.cfg.OnRemoved == Halt {
			return n, fmt.Errorf("%w: %s has lost messages from sequence %d on; run outbox relay with --on-removed republish to publish them again, or accept",
				ErrRemoved, r.cfg.Stream, s.first)
		}
	}
	if n > 0 {
		r.log.Warn("messages were removed from the stream, and stay so", "stream", r.cfg.Stream, "n", n, "sequence", s.first)
	}
	return n, nil
}

func (r *Relay) plannedSince(ctx context.Context, since time.Time, last int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return r.table.PlannedSince(ctx, r.pool, since, last)
}

func (r *Relay) oldest(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return r.table.Oldest(ctx, r.pool)
}

// deleted reads which sequences of the stream have no message, behind its first.
func (r *Relay) deleted(ctx context.Context) ([]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	reply, err := r.nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+r.cfg.Stream, []byte(`{"deleted_details":true}`))
	if err != nil {
		return nil, fmt.Errorf("read holes of stream %s: %w", r.cfg.Stream, err)
	}
	var answer struct {
		State jetstream.StreamState `json:"state"`
		Error *jetstream.APIError   `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("read holes of stream %s: %w", r.cfg.Stream, err)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("read holes of stream %s: %w", r.cfg.Stream, answer.Error)
	}
	return answer.State.Deleted, nil
}
