package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// Repaired is what a repair did, or would do.
type Repaired struct {
	Replanned int64 // missing events that got another position
	Awaited   int64 // missing events that the relay publishes by itself
	Orphans   int64 // rows planned that no relay would have found
	Accepted  int64 // messages that cannot be undone
	Copies    int64 // of the newest events of reordered keys
	Receipts  int64 // written: 1 when the last one was missing
}

// ErrNotPublished reports that the relay has not published what a repair planned.
var ErrNotPublished = errors.New("the relay has not published it")

const (
	repairTries = 10   // to plan beside a relay
	acceptPage  = 1000 // sequences
)

// TryRepair returns what Repair would do. It changes nothing.
func (a *Audit) TryRepair(ctx context.Context, report *Report) (out Repaired, err error) {
	return a.repair(ctx, report, true)
}

// Repair repairs what Run found, except for what needs a person, and waits for the relay. The caller should then call Run again. The error wraps
// ErrNotPublished if the relay made no progress for Config.Patience: a relay that starts later publishes what was planned.
func (a *Audit) Repair(ctx context.Context, report *Report) (out Repaired, err error) {
	return a.repair(ctx, report, false)
}

func (a *Audit) repair(ctx context.Context, report *Report, try bool) (out Repaired, err error) {
	rep := &repairer{a: a, try: try}
	for _, step := range []struct {
		needed bool
		do     func(context.Context) error
	}{
		{report.Has(Unplanned), rep.orphans},
		{report.Has(Missing), rep.missing},
		{len(a.cmp.acceptable()) > 0, rep.accept},
		{report.Has(Missing) || report.Has(Unplanned) || report.Has(Unpublished) || report.Has(Reordered), rep.await},
		{report.Has(Reordered), rep.newest},
		{report.Has(Unreceipted), rep.receipt},
	} {
		if step.needed && err == nil {
			err = step.do(ctx)
		}
	}
	if err != nil {
		return rep.out, fmt.Errorf("repair: %w", err)
	}
	return rep.out, nil
}

// repairer is one repair.
type repairer struct {
	a      *Audit
	try    bool // change nothing
	out    Repaired
	keys   map[int64]int64 // of reordered keys: hash to the newest row
	end    int64           // position up to which that was looked for
	copies []int64         // rows
}

// retry plans while a relay may be planning too. If the relay was first, do reads and plans again.
func retry(ctx context.Context, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if !errors.Is(err, table.ErrPlanned) || n == repairTries {
			return err
		}
		_ = wait.For(ctx, time.Duration(n)*20*time.Millisecond)
	}
}

func (m *repairer) orphans(ctx context.Context) error {
	for left := m.a.rows.candidates; len(left) > 0 && !m.try; {
		n := min(len(left), candidatePage)
		err := retry(ctx, func() error {
			ctx, cancel := context.WithTimeout(ctx, queryTimeout)
			defer cancel()
			planned, err := m.a.table.PlanOrphans(ctx, m.a.pool, left[:n], m.a.cfg.Name)
			m.out.Orphans += planned
			return err
		})
		if err != nil {
			return err
		}
		left = left[n:]
	}
	return m.a.table.WakeRelay(ctx, m.a.pool)
}

// missing gives the events that the stream has passed another position.
func (m *repairer) missing(ctx context.Context) error {
	a := m.a
	begins, err := a.begins(ctx)
	if err != nil {
		return err
	}
	err = a.eachMissing(ctx, begins, func(events []Event) error {
		passed := events[:0]
		for _, e := range events {
			if a.ahead(e.Position) {
				m.out.Awaited++
			} else {
				passed = append(passed, e)
			}
		}
		for page := range slices.Chunk(passed, resendPage) {
			if err := m.replan(ctx, page); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || m.try {
		return err
	}
	return a.table.WakeRelay(ctx, a.pool)
}

// ahead reports whether the relay will publish a position by itself, because it is after the end of the stream.
func (a *Audit) ahead(position int64) bool {
	if a.scope.shared {
		return false
	}
	base, ok := a.scope.log.BaseOf(position)
	return !ok || uint64(max(position+base, 0)) > a.scope.Last
}

// replan gives a page of events another position, except those that somebody else moved meanwhile: their old positions are parked.
func (m *repairer) replan(ctx context.Context, events []Event) error {
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
		left, err := m.a.table.Missing(ctx, m.a.pool, first, last) // not parked meanwhile
		if err != nil {
			return err
		}
		var sources []table.PlannedRow
		for i := range left {
			sources = append(sources, table.PlannedRow{Position: left[i].Position, RowID: left[i].RowID})
		}
		if len(sources) == 0 {
			return nil
		}
		if err := m.a.table.Replan(ctx, m.a.pool, sources, m.a.cfg.Name); err != nil {
			return err
		}
		m.out.Replanned += int64(len(sources))
		crash.Point("audit-replanned")
		return nil
	})
}

// accept records what cannot be undone, and inserts a copy of the newest event of each reordered key.
func (m *repairer) accept(ctx context.Context) error {
	a := m.a
	if err := m.findNewest(ctx); err != nil {
		return err
	}
	copied := make(map[int64]bool)
	for page := range slices.Chunk(a.cmp.acceptable(), acceptPage) {
		var rows []int64
		for _, l := range a.cmp.late {
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
		n, copies, err := a.table.Accept(step, a.pool, a.scope.ID, page, rows)
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

// receipt writes the missing receipt if the stream has everything up to it, or the relay publishes the rest at the end.
func (m *repairer) receipt(ctx context.Context) error {
	a := m.a
	absent := false
	err := a.eachAbsent(ctx, a.scope.acked+1, a.cmp.high, func(events []Event) error {
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
	if err != nil || stream.Same(last.Stream, a.scope.ID) && last.Position >= a.cmp.high {
		return err
	}
	m.out.Receipts = 1
	if m.try {
		return nil
	}
	a.cmp.sequences.sort()
	return a.table.AppendReceipt(ctx, a.pool, table.Receipt{Stream: a.scope.ID, Position: a.cmp.high, Sequence: a.cmp.sequences.at(a.cmp.high)}, a.cfg.Name)
}
