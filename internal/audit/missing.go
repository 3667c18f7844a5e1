package audit

import (
	"context"
	"time"
)

// absentPage is how many positions that are not in the stream are read at a time.
const absentPage = 16_384

// passed is the last position that the stream must have, because it acknowledged it or has a later one.
func (a *Audit) passed() int64 {
	s := &a.scope
	high := int64(0)
	if !s.shared { // on a shared stream, what is in flight arrives in any order
		high = a.cmp.high
	}
	if s.receipts || !s.log.Started() { // the receipt of a former stream still shows what was acknowledged
		high = max(high, s.acked)
	}
	return min(high, s.lastPosition)
}

// countMissing counts the events that the stream acknowledged or passed, and does not have.
func (a *Audit) countMissing(ctx context.Context, report *Report) error {
	found := &Found{}
	begins, err := a.begins(ctx)
	if err != nil {
		return err
	}
	report.Expired = max(begins-a.scope.firstPosition, 0) - a.cmp.there.count(a.scope.firstPosition, begins-1)
	err = a.eachMissing(ctx, begins, func(events []Event) error {
		for i := range events {
			found.add(a.cfg.Limit, a.absent(&events[i], "the stream does not have it"))
		}
		return nil
	})
	report.Found[Missing] = found
	return err
}

func (a *Audit) absent(e *Event, detail string) Finding {
	f := Finding{EventID: e.ID, Subject: e.Subject, Key: e.Key, Position: e.Position, Detail: detail}
	if base, ok := a.scope.log.BaseOf(e.Position); ok {
		f.Sequence = uint64(max(e.Position+base, 0))
	}
	return f
}

// begins is the first position that the stream must still have: what its limits removed from its beginning has expired. A limit by
// age expires what was planned earlier, with a minute for the difference between the clocks.
func (a *Audit) begins(ctx context.Context) (int64, error) {
	s := &a.scope
	stored := s.stored()
	switch {
	case s.First <= 1 || stored <= s.firstPosition:
		return s.firstPosition, nil
	case s.DropsOld || !s.keeps:
		return stored, nil
	case s.MaxAge == 0:
		return s.firstPosition, nil
	}
	young, err := a.table.PlannedSince(ctx, a.pool, s.now.Add(time.Since(s.began)+time.Minute-s.MaxAge), a.passed())
	return max(min(young, stored), s.firstPosition), err
}

// stored is the first position that the stream can still have.
func (s *scope) stored() int64 {
	if s.shared || !s.log.Started() {
		return s.firstPosition
	}
	position, belongs := s.log.PositionAt(s.First)
	if !belongs {
		position++
	}
	return position
}

// eachMissing passes the missing events, from a position on, to each, page by page in position order.
func (a *Audit) eachMissing(ctx context.Context, begins int64, each func(events []Event) error) error {
	if a.scope.DropsPerSubject || !a.scope.keeps {
		return nil // its limits may have removed any message
	}
	return a.eachAbsent(ctx, begins, a.passed(), each)
}

// eachAbsent passes the events from first through last that the stream does not have and that are not parked to each.
func (a *Audit) eachAbsent(ctx context.Context, first, last int64, each func(events []Event) error) error {
	for first <= last {
		var low, high []int64
		n := int64(0)
		for n < absentPage && len(low) < absentPage/8 {
			from, to, ok := a.cmp.there.gap(first, last, absentPage-n)
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
		events, err := a.table.Missing(page, a.pool, low, high)
		cancel()
		if err != nil {
			return err
		}
		absent := events[:0]
		for _, e := range events {
			if !a.cmp.seen.has(e.RowID) { // the stream has it, at another position
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
