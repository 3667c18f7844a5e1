package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// scanTimeout bounds a scan of the stream's end.
const scanTimeout = 10 * time.Minute

// tail is the end of the stream compared with the plan: every message after the last position that it is known to have.
type tail struct {
	contiguous int64          // the stream has every position up to here, at whatever sequence
	beyond     map[int64]bool // and these positions
	last       int64          // the highest of all
	foreign    int            // messages that are no event of the plan
	from, base int64          // the positions from … last all have this base
	end        uint64         // last sequence that was read
	unplanned  []uuid.UUID    // events of a relay at positions that the plan did not give them
}

// scanTail compares the messages after the known position with the plan. The position of a message is the one in its headers: a message
// that was in flight when the base moved is where an older base put it. A message that is gone (expired or purged) counts as
// the event that belonged there: reading holes is for Relay.holes.
func (r *Relay) scanTail(ctx context.Context, e *evidence) (*tail, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTimeout)
	defer cancel()
	base, _ := e.log.BaseOf(e.known + 1)
	from := max(uint64(max(e.known+base, 0))+1, 1)
	t := &tail{contiguous: e.known, beyond: make(map[int64]bool), last: e.known, from: e.known + 1, base: base, end: from - 1}
	if from <= e.state.Last && e.state.First <= e.state.Last {
		scanner, err := r.stream.Scan(ctx, stream.Span{First: from, Last: e.state.Last})
		if err != nil {
			return nil, err
		}
		defer scanner.Close()
		for t.end < e.state.Last {
			page, err := scanner.Fetch(ctx)
			if err != nil {
				return nil, err
			}
			if len(page) == 0 {
				break
			}
			if err := r.compare(ctx, e, page, t); err != nil {
				return nil, err
			}
		}
	}
	if t.end < e.state.Last { // the rest is gone, unless the stream went back meanwhile
		now, err := r.ensureStream(ctx)
		if err != nil {
			return nil, err
		}
		if now.Last < e.state.Last || !stream.Same(now.ID, e.state.ID) {
			return nil, fmt.Errorf("scan stream %s: it changed meanwhile", r.cfg.Stream)
		}
		t.skipTo(e.log, e.state.Last+1)
	}
	return t, nil
}

// skipTo counts the sequences before the given one, which have no message, as the events that belonged there.
func (t *tail) skipTo(log stream.BaseLog, before uint64) {
	for t.end+1 < before {
		t.end++
		if position, belongs := log.PositionAt(t.end); belongs {
			t.add(position, t.end)
		}
	}
}

// add records that the event of a position is at a sequence.
func (t *tail) add(position int64, sequence uint64) {
	if position > t.contiguous {
		t.beyond[position] = true
	}
	for t.beyond[t.contiguous+1] {
		delete(t.beyond, t.contiguous+1)
		t.contiguous++
	}
	if base := int64(sequence) - position; base != t.base {
		t.from, t.base = position, base
	}
	t.last = max(t.last, position)
}

// gaps returns the positions before the last one that the stream does not have.
func (t *tail) gaps() (out []run) {
	for first := t.contiguous + 1; first < t.last; first++ {
		if t.beyond[first] {
			continue
		}
		last := first
		for last+1 < t.last && !t.beyond[last+1] {
			last++
		}
		out = append(out, run{first, last})
		first = last
	}
	return out
}

// compare adds a page of messages, in the order of the stream.
func (r *Relay) compare(ctx context.Context, e *evidence, page []stream.Message, t *tail) error {
	plan, err := r.planOf(ctx, page)
	if err != nil {
		return err
	}
	for i := range page {
		m := &page[i]
		t.skipTo(e.log, m.Sequence)
		t.end = m.Sequence
		planned, ok := plan[m.Event.Position]
		if m.Ours && (ok && m.Event.ID == planned || !ok && wasDropped(e, m)) {
			t.add(m.Event.Position, m.Sequence)
			continue
		}
		if _, belongs := e.log.PositionAt(m.Sequence); belongs || !m.Ours {
			t.foreign++
		}
		if m.Ours && !m.Marker && m.Sequence > r.mem.adopted {
			t.unplanned = append(t.unplanned, m.Event.ID)
		}
	}
	return nil
}

// planOf returns which events the plan has at the positions of a page of messages.
func (r *Relay) planOf(ctx context.Context, page []stream.Message) (map[int64]uuid.UUID, error) {
	plan := make(map[int64]uuid.UUID, len(page))
	for i := range page { // most pages are one run of positions: one load or two
		position := page[i].Event.Position
		if _, known := plan[position]; known || !page[i].Ours {
			continue
		}
		events, err := r.load(ctx, position, table.Page{Events: len(page) - i, Bytes: r.cfg.BatchBytes})
		if err != nil {
			return nil, err
		}
		for j := range events {
			plan[events[j].Position] = events[j].ID
		}
	}
	return plan, nil
}

// wasDropped reports whether a message whose event is not in the table had its event there: it is a marker for an event that
// was dropped before it could be published, or it is where it belongs and precedes everything that the table has.
func wasDropped(e *evidence, m *stream.Message) bool {
	if m.Marker && m.Event.ID == uuid.Nil {
		return true
	}
	position, belongs := e.log.PositionAt(m.Sequence)
	return belongs && position == m.Event.Position && position < e.oldest
}

// load is table.Table.Load with a deadline.
func (r *Relay) load(ctx context.Context, from int64, page table.Page) ([]table.Planned, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return r.table.Load(ctx, r.pool, from, page)
}
