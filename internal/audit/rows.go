package audit

import (
	"context"
	"time"
)

// rowCheck compares the rows of the table with the plan. One goroutine owns it while it reads.
type rowCheck struct {
	planned    *bitset // row ids
	n          int64   // rows
	unplanned  int64   // of these, without a position when they were read
	candidates []int64 // the first of them
}

const (
	maxCandidates = 1_000_000
	candidatePage = 10_000
)

// checkRows reads which positions the plan gave to rows, then all rows. Only that finds a row that no relay planned and none ever
// will.
func (a *Audit) checkRows(ctx context.Context) error {
	s, c := &a.scope, a.rows
	err := a.table.PlannedIDs(ctx, a.pool, s.low, max(s.high, s.low), c.planned.setRun)
	if err != nil {
		return err
	}
	return a.table.IDs(ctx, a.pool, max(s.low, 1), s.high, func(id int64) {
		c.n++
		if c.planned.has(id) {
			return
		}
		c.unplanned++
		if len(c.candidates) < maxCandidates {
			c.candidates = append(c.candidates, id)
		}
	})
}

// countWaiting counts what is overdue: rows without a position, and positions that are not published. While the relay is
// paused nothing is overdue, and while it makes progress only what it will never reach.
func (a *Audit) countWaiting(ctx context.Context, report *Report) error {
	s := &a.scope
	unplanned, unpublished := &Found{}, &Found{}
	report.Found[Unplanned], report.Found[Unpublished] = unplanned, unpublished
	report.Pending = a.rows.unplanned + max(s.lastPosition-max(a.passed(), s.firstPosition-1), 0)
	for left := a.rows.candidates; len(left) > 0; {
		n := min(len(left), candidatePage)
		page, cancel := context.WithTimeout(ctx, 2*queryTimeout)
		events, err := a.table.Unplanned(page, a.pool, left[:n], a.cfg.Grace)
		cancel()
		if err != nil {
			return err
		}
		for i := range events {
			if e := &events[i]; e.RowID <= s.head || !s.paused && !s.moved {
				unplanned.add(a.cfg.Limit, Finding{EventID: e.ID, Subject: e.Subject, Key: e.Key, Detail: "committed without a position; created " + e.CreatedAt.UTC().Format(time.RFC3339)})
			}
		}
		left = left[n:]
	}
	if s.paused {
		return nil
	}
	overdue, err := a.table.PlannedSince(ctx, a.pool, s.now.Add(-a.cfg.Grace), s.lastPosition)
	if err != nil {
		return err
	}
	return a.eachAbsent(ctx, max(a.passed()+1, s.firstPosition), overdue-1, func(events []Event) error {
		for i := range events {
			unpublished.add(a.cfg.Limit, a.absent(&events[i], "planned at "+events[i].PlannedAt.UTC().Format(time.RFC3339)+", not published"))
		}
		return nil
	})
}
