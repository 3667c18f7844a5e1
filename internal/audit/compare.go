package audit

import (
	"context"
	"slices"

	"github.com/google/uuid"
)

// maxNamed is how many sequences of a kind are kept for a repair. The next repair handles the rest.
const maxNamed = 1_000_000

// comparer compares messages, in the order of the stream, with the plan. One goroutine at a time uses it.
type comparer struct {
	a     *Audit
	there *bitset // positions whose event the stream has
	seen  *bitset // rows whose event the stream has, at whatever position
	found map[Kind]*Found
	named map[Kind][]uint64 // sequences

	published, accepted, dropped int64
	end                          uint64 // last sequence that was read
	high                         int64  // the highest position in the stream
	low                          int64  // the lowest; 0 if there is none
	only                         bool   // only record what the stream has
	sequences                    track
	late                         []lateMessage
}

func newComparer(a *Audit) *comparer {
	c := &comparer{a: a, there: newBitset(), seen: newBitset(), found: make(map[Kind]*Found), named: make(map[Kind][]uint64)}
	for _, kind := range Kinds() {
		c.found[kind] = &Found{}
	}
	if a.scope.from > 0 {
		c.end = a.scope.from - 1
	}
	return c
}

// compare compares a page of messages.
func (c *comparer) compare(ctx context.Context, p *page) error {
	var odd []*entry
	for i := range p.entries {
		e := &p.entries[i]
		c.end = max(c.end, e.sequence)
		row := (*Row)(nil)
		if e.ours {
			row = p.at(e.position)
		}
		switch {
		case row != nil && row.ID == e.id:
			if err := c.planned(e, row); err != nil {
				return err
			}
		case c.only:
		case !e.ours:
			c.report(Foreign, e, "no relay published it")
		case e.marker && e.id == uuid.Nil: // it replaces an event that was dropped before it could be published
			c.dropped++
		default:
			odd = append(odd, e)
		}
	}
	for len(odd) > 0 {
		n := min(len(odd), 1000)
		if err := c.unplanned(ctx, odd[:n]); err != nil {
			return err
		}
		odd = odd[n:]
	}
	return nil
}

// planned records a message that is what the plan has at its position.
func (c *comparer) planned(e *entry, row *Row) error {
	if e.marker || !c.a.scope.covers(e.position) && c.only {
		return nil
	}
	if c.seen.set(row.RowID) {
		if !c.only {
			c.report(Duplicates, e, "the stream already has its event")
		}
		return nil
	}
	c.there.set(e.position)
	if !c.a.scope.covers(e.position) {
		return nil
	}
	if c.low == 0 || e.position < c.low {
		c.low = e.position
	}
	c.published++
	if c.only {
		return nil
	}
	s := &c.a.scope
	if (!s.receipts || e.position > s.acked) && e.stored.Before(s.clock.Add(-c.a.cfg.Grace)) {
		c.found[Unreceipted].add(c.a.cfg.Limit, e.finding("no receipt covers it"))
	}
	if e.position <= c.high {
		c.late = append(c.late, lateMessage{sequence: e.sequence, position: e.position, high: c.high})
		c.keep(e)
	}
	c.high = max(c.high, e.position)
	return c.sequences.add(e.position, e.sequence)
}

// unplanned records messages that have the headers of a relay and are not what the plan has at their positions.
func (c *comparer) unplanned(ctx context.Context, odd []*entry) error {
	ids, positions := make([]uuid.UUID, len(odd)), make([]int64, len(odd))
	for i, e := range odd {
		ids[i], positions[i] = e.id, e.position
	}
	ctx, cancel := context.WithTimeout(ctx, 2*queryTimeout)
	defer cancel()
	a := c.a
	known, err := a.table.Events(ctx, a.pool, ids)
	if err != nil {
		return err
	}
	gone, err := a.table.Dropped(ctx, a.pool, positions)
	if err != nil {
		return err
	}
	oldest, err := a.table.OldestPosition(ctx, a.pool)
	if err != nil {
		return err
	}
	for _, e := range odd {
		belongs, ok := a.scope.log.PositionAt(e.sequence)
		switch row, has := known[e.id]; {
		case has:
			c.report(Misplaced, e, "the plan has another event at its position")
			if e.marker {
				break
			}
			if c.seen.set(row.RowID) {
				c.report(Duplicates, e, "the stream already has its event")
			} else {
				c.published++
			}
		case gone[e.position], e.position < oldest && (a.scope.shared || ok && belongs == e.position):
			c.dropped++
		default:
			c.report(Foreign, e, "the table has no such event")
		}
	}
	return nil
}

// report records a finding about a message, unless a person has accepted that message.
func (c *comparer) report(kind Kind, e *entry, detail string) {
	c.note(kind, e.finding(detail))
}

func (c *comparer) note(kind Kind, f Finding) {
	if c.a.scope.isAccepted(f.Sequence) {
		c.accepted++
		return
	}
	c.found[kind].add(c.a.cfg.Limit, f)
	if len(c.named[kind]) < maxNamed {
		c.named[kind] = append(c.named[kind], f.Sequence)
	}
}

// keep records subject, key and id of a late message, to name it if it turns out to be reordered.
func (c *comparer) keep(e *entry) {
	if n := len(c.late) - 1; n < keptLate {
		c.late[n].subject, c.late[n].key, c.late[n].id = e.subject, e.key, e.id
	}
}

// acceptable returns the sequences of what cannot be undone.
func (c *comparer) acceptable() []uint64 {
	var all []uint64
	for _, kind := range []Kind{Duplicates, Reordered, Foreign, Misplaced} {
		if kind != Foreign || !c.a.scope.shared {
			all = append(all, c.named[kind]...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
