package relay

import (
	"fmt"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// decision is where the next window begins, and what has to happen before. apply carries it out in the order of the fields.
type decision struct {
	recreated bool       // the stream was created again: it gets everything that the table has
	lost      int64      // acknowledged messages that the end of the stream lost, and that were not counted before
	foreign   int        // messages in the stream that are not ours
	unplanned *unplanned // if set, nothing below is decided: adopt these first and gather evidence again
	displaced []run      // positions whose sequences foreign messages have taken
	removed   []removal
	repaired  bool // removed covers every hole of the stream's shape
	gone      run  // positions whose events the table has dropped and the stream lacks

	next   int64       // position to publish next …
	base   int64       // … at sequence next + base
	append *table.Base // to the log of bases; nil if the log has it already
	reason string      // for the log of bases
}

// run is the positions first through last; empty if last < first.
type run struct{ first, last int64 }

func (r run) len() int64 {
	if r.last == 0 {
		return 0
	}
	return max(r.last-r.first+1, 0)
}

// removal is a hole in the stream: the positions whose messages were removed from it.
type removal struct {
	run
	sequence uint64 // of the first one
	expires  bool   // what was planned longer ago than the stream's maximum age has expired, and is not missing
}

// decide turns evidence into a decision. It reads and changes nothing. Its errors, ErrRecreated above all, need a person.
//
// The stream is known to have what it acknowledged in order (evidence.known). Every message after that is compared with the plan: a
// window that a foreign message got into was refused as many messages as there were foreign ones, and the rest of it was
// accepted. So foreign messages at the end move the base; those in between displaced events, which get a new position at the end
// of the plan. A stream that ends before what it acknowledged has lost it, and the relay publishes from its end on.
func decide(e *evidence, m *memory, cfg *Config) (*decision, error) {
	switch {
	case cfg.Shared:
		return decideShared(e, cfg)
	case !e.log.Started():
		return decideNew(e, cfg)
	}
	d := &decision{lost: newlyLost(e.lost, m.lost), foreign: e.tail.foreign}
	if len(e.tail.unplanned) > 0 {
		d.unplanned = &unplanned{ids: e.tail.unplanned, after: e.tail.contiguous, end: e.tail.end}
		return d, nil
	}
	d.displaced = e.tail.gaps()
	d.repaired = !e.now.IsZero()
	for _, h := range e.holes {
		before, _ := e.log.PositionAt(h.First - 1)
		last, _ := e.log.PositionAt(h.Last)
		d.removed = append(d.removed, removal{
			run:      run{max(before+1, e.log.First(), e.oldest), last},
			sequence: h.First,
			expires:  e.state.MaxAge > 0 && h.First == 1,
		})
	}
	last := e.tail.last
	d.reason = "foreign messages"
	if e.oldest > last+1 {
		if last > 0 {
			d.gone, d.reason = run{last + 1, e.oldest - 1}, "dropped events"
		}
		last = e.oldest - 1
	}
	d.next = last + 1
	from := d.next
	if distance := int64(e.state.Last) + 1 - d.next; e.tail.base == distance && e.tail.from > 0 {
		from = min(e.tail.from, d.next) // the messages before it have the same base already
	}
	d.setBase(e, from)
	return d, nil
}

// decideShared resumes after the last receipt: with other writers the end of the stream shows nothing.
func decideShared(e *evidence, cfg *Config) (*decision, error) {
	if e.receipt.Position == 0 || e.receipted() > 0 {
		return &decision{next: e.receipted() + 1}, nil
	}
	if cfg.OnRecreate == RecreatedHalt {
		return nil, recreated(e, cfg)
	}
	return &decision{next: max(e.oldest, 1), recreated: true}, nil
}

// decideNew begins a stream that has no base, with the first event that the table has: a new stream, or one that was created again.
func decideNew(e *evidence, cfg *Config) (*decision, error) {
	d := &decision{next: max(e.oldest, 1), reason: "first"}
	if e.log.Recreated() {
		if cfg.OnRecreate == RecreatedHalt {
			return nil, recreated(e, cfg)
		}
		d.recreated, d.reason = true, "recreated stream"
	}
	d.setBase(e, d.next)
	return d, nil
}

func recreated(e *evidence, cfg *Config) error {
	return fmt.Errorf("%w: stream %s was created at %s; to fill it from the table, run outbox relay with --on-recreate republish",
		ErrRecreated, cfg.Stream, e.state.ID.Created.Format("2006-01-02 15:04:05"))
}

// setBase puts position next at the sequence after the stream's last. from is the first position for which that base holds.
func (d *decision) setBase(e *evidence, from int64) {
	d.base = int64(e.state.Last) + 1 - d.next
	if newest, ok := e.log.Newest(); ok && newest.From <= d.next && newest.Base == d.base {
		return
	}
	d.append = &table.Base{N: e.log.NextNumber(), Stream: e.state.ID, From: from, Base: d.base}
}

// newlyLost is how many lost messages were not counted before. Until they are published again every resume finds them.
func newlyLost(now, counted lostTail) int64 {
	if now.from == counted.from {
		return max(counted.to-now.to, 0)
	}
	return now.from - now.to
}
