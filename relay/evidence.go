package relay

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// evidence is everything that decide needs to know about the table and the stream. gather reads each part once, in the order
// of the fields: receipts and bases before the stream, so that a base which another relay appends after we read the end of the
// stream makes our own append fail.
type evidence struct {
	receipt table.Receipt // the last one for a stream of this name, maybe one that no longer exists
	log     stream.BaseLog
	state   *stream.State
	oldest  int64 // no event in the table has an earlier position

	// Only of a chained stream that a relay has begun:
	known int64        // the stream is known to have every position up to here
	lost  lostTail     // what the stream acknowledged after known and lost
	tail  *tail        // the stream after known, compared with the plan
	holes stream.Spans // sequences that should have a message and have none; nil unless the shape changed
	shape shape        // of the stream
	now   time.Time    // when the holes were read
}

// memory is what one resume leaves for the next, so that nothing is counted, logged or repaired twice. It holds no truth: a relay
// that starts with an empty one makes the same decisions, and only repeats some work.
type memory struct {
	lost     lostTail     // the loss at the end of the stream that was counted last
	shape    shape        // of the stream when its holes were repaired last
	suspects stream.Spans // sequences that the reconciler could not read
	verified string       // the server by which every message could be read
	planned  uint64       // every event was planned since unplanned events were found up to this sequence
	adopted  uint64       // unplanned events up to this sequence were adopted
}

// lostTail is a loss at the end of the stream: the positions after to, up to from, were acknowledged and are gone.
type lostTail struct{ from, to int64 }

// shape is what shows that messages are missing elsewhere than at the end of a stream.
type shape struct {
	stream  table.Stream
	first   uint64 // sequence
	deleted int
}

// gather reads the evidence. It takes 20 minutes at most, nearly all of them for a scan of the stream and of its holes.
func (r *Relay) gather(ctx context.Context) (*evidence, error) {
	e := &evidence{}
	if err := r.gatherTable(ctx, e); err != nil {
		return nil, err
	}
	state, err := r.ensureStream(ctx)
	if err != nil {
		return nil, err
	}
	r.stats.resumes.Add(1)
	e.state, e.log.Stream = state, state.ID
	e.shape = shape{stream: state.ID, first: state.First, deleted: state.Deleted}
	if r.cfg.Shared || !e.log.Started() {
		return e, nil
	}
	e.known, e.lost = knownPosition(e)
	if e.tail, err = r.scanTail(ctx, e); err != nil {
		return nil, err
	}
	if len(e.tail.unplanned) == 0 && (len(r.mem.suspects) > 0 || e.shape != r.mem.shape) {
		e.now = time.Now()
		e.holes, err = r.holes(ctx, state, r.mem.suspects)
	}
	return e, err
}

// gatherTable reads what the table knows about the stream.
func (r *Relay) gatherTable(ctx context.Context, e *evidence) (err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if e.receipt, err = r.table.LastReceipt(ctx, r.pool, r.cfg.Stream); err != nil {
		return err
	}
	if e.log.All, err = r.table.Bases(ctx, r.pool); err != nil {
		return err
	}
	e.oldest, err = r.table.OldestPosition(ctx, r.pool)
	return err
}

// receipted is the position of the last receipt of this very stream; 0 for none.
func (e *evidence) receipted() int64 {
	if stream.Same(e.receipt.Stream, e.state.ID) {
		return e.receipt.Position
	}
	return 0
}

// knownPosition is the position up to which the stream is known to have everything, because it acknowledged it. A
// stream that ends before that has lost it, and is known up to the position before its last message, which has to be checked.
func knownPosition(e *evidence) (known int64, lost lostTail) {
	known = max(e.log.First()-1, e.receipted())
	last, _ := e.log.PositionAt(e.state.Last)
	if last >= known {
		return known, lostTail{}
	}
	return max(last-1, e.log.First()-1), lostTail{from: known, to: last}
}

// unplanned are events that the stream has at positions which the plan gave to other events, or to none. The database failed over and
// lost the plan by which they were published, or it is a copy whose original went on.
type unplanned struct {
	ids   []uuid.UUID
	after int64  // their events have later positions, if any
	end   uint64 // last sequence that was read
}
