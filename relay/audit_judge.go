package relay

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
)

// maxNamed is how many sequences of a kind are kept for a repair: what is more is for the next one.
const maxNamed = 1_000_000

// judge holds messages, in the order of the stream, against the plan. One goroutine at a time uses it.
type judge struct {
	a     *Audit
	there *bitset // positions whose event is there
	seen  *bitset // rows whose event is there, at whatever position
	found map[Kind]*Found
	named map[Kind][]uint64 // sequences

	published, accepted, dropped int64
	end                          uint64 // sequence that was read last
	high                         int64  // the highest position that is there
	low                          int64  // the lowest; 0: none is
	only                         bool   // look only at what is there
	sequences                    track
	late                         []lateMessage
}

func newJudge(a *Audit) *judge {
	j := &judge{a: a, there: newBitset(), seen: newBitset(), found: make(map[Kind]*Found), named: make(map[Kind][]uint64)}
	for _, kind := range Kinds {
		j.found[kind] = &Found{}
	}
	if a.scope.from > 0 {
		j.end = a.scope.from - 1
	}
	return j
}

// judge takes a page of messages.
func (j *judge) judge(ctx context.Context, p *page) error {
	var odd []*entry
	for i := range p.entries {
		e := &p.entries[i]
		j.end = max(j.end, e.sequence)
		row := (*audit.Row)(nil)
		if e.ours {
			row = p.at(e.position)
		}
		switch {
		case row != nil && row.ID == e.id:
			if err := j.planned(e, row); err != nil {
				return err
			}
		case j.only:
		case !e.ours:
			j.blame(Foreign, e, "no relay published it")
		case e.marker && e.id == uuid.Nil: // stands in for an event that was gone when the stream needed it
			j.dropped++
		default:
			odd = append(odd, e)
		}
	}
	for len(odd) > 0 {
		n := min(len(odd), 1000)
		if err := j.unplanned(ctx, odd[:n]); err != nil {
			return err
		}
		odd = odd[n:]
	}
	return nil
}

// planned takes a message that is what the plan has at its position.
func (j *judge) planned(e *entry, row *audit.Row) error {
	if e.marker || !j.a.scope.judges(e.position) && j.only {
		return nil
	}
	if j.seen.set(row.RowID) {
		if !j.only {
			j.blame(Duplicates, e, "the stream has its event already")
		}
		return nil
	}
	j.there.set(e.position)
	if !j.a.scope.judges(e.position) {
		return nil
	}
	if j.low == 0 || e.position < j.low {
		j.low = e.position
	}
	j.published++
	if j.only {
		return nil
	}
	s := &j.a.scope
	if (!s.receipts || e.position > s.acked) && e.stored.Before(s.clock.Add(-j.a.cfg.Grace)) {
		j.found[Unreceipted].add(j.a.cfg.Limit, e.finding("no receipt covers it"))
	}
	if e.position <= j.high {
		j.late = append(j.late, lateMessage{sequence: e.sequence, position: e.position, high: j.high})
		j.keep(e)
	}
	j.high = max(j.high, e.position)
	return j.sequences.add(e.position, e.sequence)
}

// unplanned takes messages that say they are events of ours, and are not what the plan has at their positions.
func (j *judge) unplanned(ctx context.Context, odd []*entry) error {
	ids, positions := make([]uuid.UUID, len(odd)), make([]int64, len(odd))
	for i, e := range odd {
		ids[i], positions[i] = e.id, e.position
	}
	ctx, cancel := context.WithTimeout(ctx, 2*queryTimeout)
	defer cancel()
	a := j.a
	known, err := audit.In(a.table).Known(ctx, a.pool, ids)
	if err != nil {
		return err
	}
	gone, err := audit.In(a.table).Gone(ctx, a.pool, positions)
	if err != nil {
		return err
	}
	oldest, err := a.table.Oldest(ctx, a.pool)
	if err != nil {
		return err
	}
	for _, e := range odd {
		belongs, ok := a.scope.log.positionAt(e.sequence)
		switch row, has := known[e.id]; {
		case has:
			j.blame(Misplaced, e, "the plan has another event at its position")
			if e.marker {
				break
			}
			if j.seen.set(row.RowID) {
				j.blame(Duplicates, e, "the stream has its event already")
			} else {
				j.published++
			}
		case gone[e.position], e.position < oldest && (a.scope.shared || ok && belongs == e.position):
			j.dropped++
		default:
			j.blame(Foreign, e, "the table has no such event")
		}
	}
	return nil
}

// blame notes a finding about a message, unless somebody has accepted that message.
func (j *judge) blame(kind Kind, e *entry, detail string) {
	j.note(kind, e.finding(detail))
}

func (j *judge) note(kind Kind, f Finding) {
	if j.a.scope.isAccepted(f.Sequence) {
		j.accepted++
		return
	}
	j.found[kind].add(j.a.cfg.Limit, f)
	if len(j.named[kind]) < maxNamed {
		j.named[kind] = append(j.named[kind], f.Sequence)
	}
}

// keep keeps a late message as it is, to name it when its key turns out to have been overtaken; some of them.
func (j *judge) keep(e *entry) {
	if n := len(j.late) - 1; n < keptLate {
		j.late[n].subject, j.late[n].key, j.late[n].id = e.subject, e.key, e.id
	}
}

// acceptable are the sequences of what cannot be undone.
func (j *judge) acceptable() []uint64 {
	var all []uint64
	for _, kind := range []Kind{Duplicates, Reordered, Foreign, Misplaced} {
		if kind != Foreign || !j.a.scope.shared {
			all = append(all, j.named[kind]...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
