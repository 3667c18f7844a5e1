package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// found is what a scan of the end of a stream says.
type found struct {
	low     int64          // up to here every position has its event there, wherever it stands; gone counts as there
	have    map[int64]bool // and these beyond
	last    int64          // the highest of them
	foreign int            // messages that are no event of the plan
	from    int64          // from here to last, all stand at the same distance …
	base    int64          // … from their positions
	end     uint64         // sequence that the scan came to
	strays  []uuid.UUID    // events of ours, as they say, but not where the plan has them
}

// scan holds the messages behind a known position against the plan. A message says itself which position it has: what
// was in flight when the base moved stands where an older base said. A message that is gone (expired, purged) is taken
// for what belonged there.
func (r *Relay) scan(ctx context.Context, t *target, log baseLog, known int64) (*found, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	base, _ := log.baseOf(known + 1)
	from := max(uint64(max(known+base, 0))+1, 1)
	f := &found{low: known, have: make(map[int64]bool), last: known, from: known + 1, base: base, end: from - 1}
	if from <= t.last && t.first <= t.last {
		consumer, err := r.scanner(ctx, span{from, t.last})
		if err != nil {
			return nil, err
		}
		defer consumer.close()
		for f.end < t.last {
			page, err := consumer.fetch(ctx)
			if err != nil {
				return nil, err
			}
			if len(page) == 0 {
				break
			}
			if err := r.compare(ctx, log, page, f); err != nil {
				return nil, err
			}
		}
	}
	if f.end < t.last { // the rest is gone, unless the stream went back meanwhile
		now, err := r.ensureStream(ctx)
		if err != nil {
			return nil, err
		}
		if now.last < t.last || !same(now.stream, t.stream) {
			return nil, fmt.Errorf("scan stream %s: it changed meanwhile", r.cfg.Stream)
		}
		f.gone(log, t.last+1)
	}
	if f.foreign > 0 {
		r.stats.foreign.Add(uint64(f.foreign))
		r.log.Warn("stream holds messages that are not ours, or not what the plan has", "stream", r.cfg.Stream, "n", f.foreign)
	}
	return f, nil
}

// gone takes what is missing before a sequence for what belonged there.
func (f *found) gone(log baseLog, before uint64) {
	for f.end+1 < before {
		f.end++
		if position, belongs := log.positionAt(f.end); belongs {
			f.see(position, f.end)
		}
	}
}

// see notes that the event of a position stands at a sequence.
func (f *found) see(position int64, sequence uint64) {
	if position > f.low {
		f.have[position] = true
	}
	for f.have[f.low+1] {
		delete(f.have, f.low+1)
		f.low++
	}
	if base := int64(sequence) - position; base != f.base {
		f.from, f.base = position, base
	}
	f.last = max(f.last, position)
}

// compare holds a page of messages against the plan.
func (r *Relay) compare(ctx context.Context, log baseLog, page []stored, f *found) error {
	plan := make(map[int64]table.Planned, len(page))
	for i := range page { // most pages are one run of positions: a load or two
		if p := page[i].event.Position; page[i].ours && plan[p].Position == 0 {
			events, err := r.load(ctx, p, table.Page{Events: len(page) - i, Bytes: r.cfg.BatchBytes})
			if err != nil {
				return err
			}
			for _, e := range events {
				e.Payload = nil
				plan[e.Position] = e
			}
		}
	}
	oldest, err := r.oldest(ctx)
	if err != nil {
		return err
	}
	for i := range page {
		m := &page[i]
		f.gone(log, m.sequence)
		f.end = m.sequence
		planned, ok := plan[m.event.Position]
		if m.ours && (ok && m.event.ID == planned.ID || !ok && r.wasDropped(log, m, oldest)) {
			f.see(m.event.Position, m.sequence)
			continue
		}
		if _, belongs := log.positionAt(m.sequence); belongs || !m.ours {
			f.foreign++
		}
		if m.ours && !m.marker && m.sequence > r.kept {
			f.strays = append(f.strays, m.event.ID)
		}
	}
	return nil
}

// wasDropped says of a message of ours, whose event the table does not have, that it had it: it stands in for one that was gone
// already, or stands where it belongs and before everything that the table has.
func (r *Relay) wasDropped(log baseLog, m *stored, oldest int64) bool {
	if m.marker && m.event.ID == uuid.Nil {
		return true
	}
	position, belongs := log.positionAt(m.sequence)
	return belongs && position == m.event.Position && position < oldest
}

// load is table.Table.Load with a deadline.
func (r *Relay) load(ctx context.Context, from int64, page table.Page) ([]table.Planned, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return r.table.Load(ctx, r.pool, from, page)
}
