package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
)

// absentPage is how many positions that are not in the stream are looked up at a time.
const absentPage = 16_384

// passed is the last position that the stream has to have: it acknowledged it, or has a later one.
func (a *Audit) passed() int64 {
	s := &a.scope
	high := int64(0)
	if !s.shared { // there, what is in flight comes in any order
		high = a.j.high
	}
	if s.receipts || !s.log.started() { // a receipt of a stream that is no more says what was acknowledged
		high = max(high, s.acked)
	}
	return min(high, s.lastPosition)
}

// countMissing names what the stream has acknowledged or passed, and does not have.
func (a *Audit) countMissing(ctx context.Context, report *AuditReport) error {
	found := &Found{}
	begins, err := a.begins(ctx)
	if err != nil {
		return err
	}
	report.Expired = max(begins-a.scope.firstPosition, 0) - a.j.there.count(a.scope.firstPosition, begins-1)
	err = a.eachMissing(ctx, begins, func(events []audit.Event) error {
		for i := range events {
			found.add(a.cfg.Limit, a.absent(&events[i], "the stream does not have it"))
		}
		return nil
	})
	report.Found[Missing] = found
	return err
}

func (a *Audit) absent(e *audit.Event, detail string) Finding {
	f := Finding{EventID: e.ID, Subject: e.Subject, Key: e.Key, Position: e.Position, Detail: detail}
	if base, ok := a.scope.log.baseOf(e.Position); ok {
		f.Sequence = uint64(max(e.Position+base, 0))
	}
	return f
}

// begins is the first position that no limit of the stream excuses: what its limits drop from its beginning is expired. By age, what was
// planned before is older; by a clock that is not quite the table's.
func (a *Audit) begins(ctx context.Context) (int64, error) {
	s := &a.scope
	stored := s.stored()
	switch {
	case s.target.first <= 1 || stored <= s.firstPosition:
		return s.firstPosition, nil
	case s.dropsOld || !s.keeps:
		return stored, nil
	case s.maxAge == 0:
		return s.firstPosition, nil
	}
	young, err := a.table.PlannedSince(ctx, a.pool, s.now.Add(time.Since(s.began)+time.Minute-s.maxAge), a.passed())
	return max(min(young, stored), s.firstPosition), err
}

// stored is the first position that the stream can still have.
func (s *scope) stored() int64 {
	if s.shared || !s.log.started() {
		return s.firstPosition
	}
	position, belongs := s.log.positionAt(s.target.first)
	if !belongs {
		position++
	}
	return position
}

// eachMissing hands the events that are missing, from a position on, to each: pages of them, lowest first.
func (a *Audit) eachMissing(ctx context.Context, begins int64, each func(events []audit.Event) error) error {
	if a.scope.dropsPerSubject || !a.scope.keeps {
		return nil // any message may be gone by its limits
	}
	return a.eachAbsent(ctx, begins, a.passed(), each)
}

// eachAbsent hands the events from first through last that the stream does not have, and that are not parked, to each.
func (a *Audit) eachAbsent(ctx context.Context, first, last int64, each func(events []audit.Event) error) error {
	for first <= last {
		var low, high []int64
		n := int64(0)
		for n < absentPage && len(low) < absentPage/8 {
			from, to, ok := a.j.there.gap(first, last, absentPage-n)
			if !ok {
				first = last + 1
				break
			}
			low, high, first, n = append(low, from), append(high, to), to+1, n+to-from+1
		}
		if n == 0 {
			return nil
		}
		page, cancel := context.WithTimeout(ctx, 2*queryTimeout)
		events, err := audit.In(a.table).Absent(page, a.pool, low, high)
		cancel()
		if err != nil {
			return err
		}
		absent := events[:0]
		for _, e := range events {
			if !a.j.seen.has(e.RowID) { // it is there, at another position
				absent = append(absent, e)
			}
		}
		if len(absent) > 0 {
			if err := each(absent); err != nil {
				return err
			}
		}
	}
	return nil
}
