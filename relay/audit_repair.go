package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// A repair goes through the relay: there is one door to the stream. What is missing gets another position at the end of the plan,
// which the relay publishes; what lies behind the end of a stream that went back or was made again, the relay publishes by itself. What
// cannot be undone in a stream that only grows is recorded as accepted; where it was the order of a key, a copy of the
// newest event of the key follows, so that consumers end with that. Every step is one transaction that is done once: a repair that is
// killed anywhere goes on when it is run again.

// AuditRepair is what a repair has done, or would do.
type AuditRepair struct {
	Replanned int64 // missing events that got another position
	Awaited   int64 // missing events that the relay publishes by itself
	Orphans   int64 // rows planned that no planner would have found
	Accepted  int64 // messages that cannot be undone
	Copies    int64 // of the newest events of reordered keys
	Receipts  int64 // written: 1 when the last one was missing
}

// ErrNotPublished says that the relay has not published what a repair has planned.
var ErrNotPublished = errors.New("the relay has not published it")

const (
	repairTries = 10   // to plan beside a relay
	acceptPage  = 1000 // sequences
)

// TryRepair says what Repair would do about what Run found.
func (a *Audit) TryRepair(ctx context.Context, report *AuditReport) (out AuditRepair, err error) {
	return a.repair(ctx, report, true)
}

// Repair mends what Run found, but for what waits for a person, and waits for the relay. Then it is time for another Run. The error wraps
// ErrNotPublished when the relay has made no progress for AuditConfig.Patience: what was planned is published when one runs.
func (a *Audit) Repair(ctx context.Context, report *AuditReport) (out AuditRepair, err error) {
	return a.repair(ctx, report, false)
}

func (a *Audit) repair(ctx context.Context, report *AuditReport, try bool) (out AuditRepair, err error) {
	mend := &mender{a: a, try: try}
	for _, step := range []struct {
		needed bool
		do     func(context.Context) error
	}{
		{report.Has(Unplanned), mend.orphans},
		{report.Has(Missing), mend.missing},
		{len(a.j.acceptable()) > 0, mend.accept},
		{report.Has(Missing) || report.Has(Unplanned) || report.Has(Unpublished) || report.Has(Reordered), mend.await},
		{report.Has(Reordered), mend.newest},
		{report.Has(Unreceipted), mend.receipt},
	} {
		if step.needed && err == nil {
			err = step.do(ctx)
		}
	}
	if err != nil {
		return mend.out, fmt.Errorf("repair: %w", err)
	}
	return mend.out, nil
}

// mender is one repair.
type mender struct {
	a      *Audit
	try    bool // change nothing
	out    AuditRepair
	keys   map[int64]int64 // of reordered keys: hash to the newest row
	end    int64           // position up to which that was looked for
	copies []int64         // rows
}

// retry plans beside a relay: who loses reads again, and tries again.
func retry(ctx context.Context, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if !errors.Is(err, table.ErrPlanned) || n == repairTries {
			return err
		}
		sleep(ctx, time.Duration(n)*20*time.Millisecond)
	}
}

func (m *mender) orphans(ctx context.Context) error {
	for left := m.a.rows.candidates; len(left) > 0 && !m.try; {
		n := min(len(left), candidatePage)
		err := retry(ctx, func() error {
			ctx, cancel := context.WithTimeout(ctx, queryTimeout)
			defer cancel()
			planned, err := audit.In(m.a.table).PlanOrphans(ctx, m.a.pool, left[:n], m.a.cfg.Name)
			m.out.Orphans += planned
			return err
		})
		if err != nil {
			return err
		}
		left = left[n:]
	}
	return audit.In(m.a.table).Nudge(ctx, m.a.pool)
}

// missing gives the events that the stream has passed another position.
func (m *mender) missing(ctx context.Context) error {
	a := m.a
	begins, err := a.begins(ctx)
	if err != nil {
		return err
	}
	err = a.eachMissing(ctx, begins, func(events []audit.Event) error {
		behind := events[:0]
		for _, e := range events {
			if a.ahead(e.Position) {
				m.out.Awaited++
			} else {
				behind = append(behind, e)
			}
		}
		for page := range slices.Chunk(behind, replanPage) {
			if err := m.replan(ctx, page); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || m.try {
		return err
	}
	return audit.In(a.table).Nudge(ctx, a.pool)
}

// ahead says that the relay gets to a position by itself: it goes on where the stream ends.
func (a *Audit) ahead(position int64) bool {
	if a.scope.shared {
		return false
	}
	base, ok := a.scope.log.baseOf(position)
	return !ok || uint64(max(position+base, 0)) > a.scope.target.last
}

// replan plans a page of events again, unless somebody else did meanwhile: then their old positions are parked.
func (m *mender) replan(ctx context.Context, events []audit.Event) error {
	if m.try {
		m.out.Replanned += int64(len(events))
		return nil
	}
	var first, last []int64
	for i := range events {
		position := events[i].Position
		if n := len(last); n > 0 && last[n-1] == position-1 {
			last[n-1] = position
			continue
		}
		first, last = append(first, position), append(last, position)
	}
	return retry(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		left, err := audit.In(m.a.table).Absent(ctx, m.a.pool, first, last) // not parked meanwhile
		if err != nil {
			return err
		}
		var places []table.Place
		for i := range left {
			places = append(places, table.Place{Position: left[i].Position, RowID: left[i].RowID})
		}
		if len(places) == 0 {
			return nil
		}
		if err := m.a.table.Replan(ctx, m.a.pool, places, m.a.cfg.Name); err != nil {
			return err
		}
		m.out.Replanned += int64(len(places))
		crash.Point("audit-replanned")
		return nil
	})
}

// accept records what cannot be undone, and with the order of a key a copy of its newest event.
func (m *mender) accept(ctx context.Context) error {
	a := m.a
	if err := m.findNewest(ctx); err != nil {
		return err
	}
	copied := make(map[int64]bool)
	for page := range slices.Chunk(a.j.acceptable(), acceptPage) {
		var rows []int64
		for _, l := range a.j.late {
			if _, named := slices.BinarySearch(page, l.sequence); l.reordered && named && !copied[l.hash] && m.keys[l.hash] > 0 {
				copied[l.hash] = true
				rows = append(rows, m.keys[l.hash])
			}
		}
		if m.try {
			m.out.Accepted, m.out.Copies = m.out.Accepted+int64(len(page)), m.out.Copies+int64(len(rows))
			continue
		}
		step, cancel := context.WithTimeout(ctx, queryTimeout)
		n, copies, err := audit.In(a.table).Accept(step, a.pool, a.scope.stream, page, rows)
		cancel()
		if err != nil {
			return err
		}
		m.out.Accepted, m.out.Copies = m.out.Accepted+int64(n), m.out.Copies+int64(len(copies))
		m.copies = append(m.copies, copies...)
		crash.Point("audit-accepted")
	}
	return nil
}

// receipt writes the receipt that is missing, when all up to it is known to be in the stream, or to come at the end.
func (m *mender) receipt(ctx context.Context) error {
	a := m.a
	absent := false
	err := a.eachAbsent(ctx, a.scope.acked+1, a.j.high, func(events []audit.Event) error {
		for i := range events {
			absent = absent || a.scope.shared || a.ahead(events[i].Position)
		}
		return nil
	})
	if err != nil || absent {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	last, err := a.table.LastReceipt(ctx, a.pool, a.cfg.Stream)
	if err != nil || same(last.Stream, a.scope.stream) && last.Position >= a.j.high {
		return err
	}
	m.out.Receipts = 1
	if m.try {
		return nil
	}
	a.j.sequences.sort()
	return a.table.AppendReceipt(ctx, a.pool, table.Receipt{Stream: a.scope.stream, Position: a.j.high, Sequence: a.j.sequences.at(a.j.high)}, a.cfg.Name)
}
