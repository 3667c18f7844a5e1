package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
)

// rowCheck holds the rows of the table against the plan. One goroutine owns it while it reads.
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

// checkRows reads which rows there are, then which have a position: a row that nobody planned, and nobody ever will, is found by no
// other look.
func (a *Audit) checkRows(ctx context.Context) error {
	s, c := &a.scope, a.rows
	err := audit.In(a.table).Runs(ctx, a.pool, s.low, max(s.high, s.low), c.planned.setRun)
	if err != nil {
		return err
	}
	return audit.In(a.table).IDs(ctx, a.pool, max(s.low, 1), s.high, func(id int64) {
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

// countWaiting names what has waited for too long: rows without a position, and positions that the stream has not come to. While a
// relay is paused nothing is overdue, and while one gets on only what it will never come to.
func (a *Audit) countWaiting(ctx context.Context, report *AuditReport) error {
	s := &a.scope
	unplanned, unpublished := &Found{}, &Found{}
	report.Found[Unplanned], report.Found[Unpublished] = unplanned, unpublished
	report.Pending = a.rows.unplanned + max(s.lastPosition-max(a.passed(), s.firstPosition-1), 0)
	for left := a.rows.candidates; len(left) > 0; {
		n := min(len(left), candidatePage)
		page, cancel := context.WithTimeout(ctx, 2*queryTimeout)
		events, err := audit.In(a.table).Unplanned(page, a.pool, left[:n], a.cfg.Grace)
		cancel()
		if err != nil {
			return err
		}
		for i := range events {
			if e := &events[i]; e.RowID <= s.head || !s.paused && !s.moved {
				unplanned.add(a.cfg.Limit, Finding{EventID: e.ID, Subject: e.Subject, Key: e.Key, Detail: "committed, and has no position; created " + e.CreatedAt.UTC().Format(time.RFC3339)})
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
	return a.eachAbsent(ctx, max(a.passed()+1, s.firstPosition), overdue-1, func(events []audit.Event) error {
		for i := range events {
			unpublished.add(a.cfg.Limit, a.absent(&events[i], "planned at "+events[i].PlannedAt.UTC().Format(time.RFC3339)+", and not published"))
		}
		return nil
	})
}
