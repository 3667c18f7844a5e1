package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	awaitEvery  = 200 * time.Millisecond
	awaitOrder  = 5       // copies of one key, at most
	awaitCopies = 100_000 // reordered keys, at most
)

// await waits until the relay has published everything that is planned now, and what this repair inserted.
func (m *repairer) await(ctx context.Context) error {
	if m.try {
		return nil
	}
	rows := append([]int64(nil), m.copies...)
	rows = append(rows, m.a.rows.candidates[:min(len(m.a.rows.candidates), candidatePage)]...)
	return m.a.await(ctx, rows)
}

// await waits until rows have a position and everything that is planned by then is acknowledged.
func (a *Audit) await(ctx context.Context, rows []int64) error {
	var target int64 // position; 0 if not known yet
	var before table.Status
	noted, progress := "", time.Now()
	for {
		status, done, err := a.awaited(ctx, rows, &target)
		if err != nil || done {
			return err
		}
		if status.Acked != before.Acked || status.Planned != before.Planned || status.Sequence != before.Sequence {
			progress = time.Now()
		}
		before = status
		note := fmt.Sprintf("waiting for relay %s to publish it", status.Leader)
		switch {
		case a.scope.paused:
			note = "the relay is paused; run: outbox resume --relay"
		case status.Leader == "":
			note = "no relay is running; run: outbox relay --stream " + a.cfg.Stream
		}
		if note != noted {
			a.cfg.Note(note)
			noted = note
		}
		if time.Since(progress) > a.cfg.Patience {
			return fmt.Errorf("%w for %v: %s", ErrNotPublished, a.cfg.Patience, note)
		}
		_ = wait.For(ctx, awaitEvery)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (a *Audit) awaited(ctx context.Context, rows []int64, target *int64) (status table.Status, done bool, err error) {
	now, err := a.readScope(ctx)
	if err != nil {
		return status, false, err
	}
	a.scope.paused = now.paused
	if *target == 0 {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		waiting, err := a.table.Unplanned(ctx, a.pool, rows, 0)
		if err != nil || len(waiting) > 0 {
			return now.status, false, err
		}
		*target = max(now.status.Planned, 1)
	}
	base, ok := now.log.BaseOf(*target)
	ends := now.shared || ok && uint64(max(*target+base, 0)) <= now.Last // the receipt alone may be for a lost message
	return now.status, ends && now.receipts && now.acked >= *target, nil
}

// findNewest finds the newest event of each reordered key.
func (m *repairer) findNewest(ctx context.Context) error {
	a, low := m.a, int64(0)
	m.keys = make(map[int64]int64)
	for i := range a.cmp.late {
		if l := &a.cmp.late[i]; l.reordered && !a.scope.isAccepted(l.sequence) && len(m.keys) < awaitCopies {
			m.keys[l.hash] = 0
			if low == 0 || l.position < low {
				low = l.position
			}
		}
	}
	if len(m.keys) == 0 {
		return nil
	}
	_, err := m.advance(ctx, low)
	return err
}

// advance finds newer events of the reordered keys, from a position to the end of the plan. It returns the keys whose copy
// follows an event that is newer than the copied one.
func (m *repairer) advance(ctx context.Context, low int64) (overtaken []int64, err error) {
	a := m.a
	bounds, err := a.table.Bounds(ctx, a.pool)
	if err != nil {
		return nil, err
	}
	ours := make(map[int64]bool, len(m.copies))
	for _, id := range m.copies {
		ours[id] = true
	}
	newer, stale := make(map[int64]bool), make(map[int64]bool)
	err = a.eachPlanned(ctx, low, bounds.Position, func(row *Row) {
		if _, reordered := m.keys[row.Key]; !reordered {
			return
		}
		if ours[row.RowID] {
			stale[row.Key] = newer[row.Key]
			return
		}
		m.keys[row.Key] = row.RowID
		newer[row.Key], stale[row.Key] = true, false
	})
	for key, is := range stale {
		if is {
			overtaken = append(overtaken, m.keys[key])
		}
	}
	m.end = bounds.Position
	return overtaken, err
}

// newest makes sure that the last event of each reordered key has its newest state. A writer may have committed after the repair found
// the newest event and before it inserted the copy.
func (m *repairer) newest(ctx context.Context) error {
	for range awaitOrder {
		if m.try || len(m.copies) == 0 {
			return nil
		}
		overtaken, err := m.advance(ctx, m.end+1)
		if err != nil || len(overtaken) == 0 {
			return err
		}
		step, cancel := context.WithTimeout(ctx, queryTimeout)
		copies, err := m.a.table.Copy(step, m.a.pool, overtaken)
		cancel()
		if err != nil {
			return err
		}
		m.copies = append(m.copies, copies...)
		m.out.Copies += int64(len(copies))
		if err := m.a.await(ctx, copies); err != nil {
			return err
		}
	}
	return fmt.Errorf("writers changed %d keys again while their newest events were copied; run the repair again", len(m.keys))
}
