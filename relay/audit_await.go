package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

const (
	awaitEvery  = 200 * time.Millisecond
	awaitOrder  = 5       // copies of one key, at most
	awaitCopies = 100_000 // reordered keys, at most
)

// await waits until the relay has published all that is planned now, and what was inserted by this repair.
func (m *mender) await(ctx context.Context) error {
	if m.try {
		return nil
	}
	rows := append([]int64(nil), m.copies...)
	rows = append(rows, m.a.rows.candidates[:min(len(m.a.rows.candidates), candidatePage)]...)
	return m.a.await(ctx, rows)
}

// await waits until rows have a position, and all that is planned by then is acknowledged.
func (a *Audit) await(ctx context.Context, rows []int64) error {
	var target int64 // position; 0: not known yet
	var before table.Status
	said, progress := "", time.Now()
	for {
		status, done, err := a.awaited(ctx, rows, &target)
		if err != nil || done {
			return err
		}
		if status.Acked != before.Acked || status.Planned != before.Planned || status.Sequence != before.Sequence {
			progress = time.Now()
		}
		before = status
		note := fmt.Sprintf("waiting for %s to publish it", status.Leader)
		switch {
		case a.scope.paused:
			note = "the relay is paused; go on with: outbox resume --relay"
		case status.Leader == "":
			note = "no relay runs; start one: outbox relay --stream " + a.cfg.Stream
		}
		if note != said {
			a.cfg.Say(note)
			said = note
		}
		if time.Since(progress) > a.cfg.Patience {
			return fmt.Errorf("%w for %v: %s", ErrNotPublished, a.cfg.Patience, note)
		}
		sleep(ctx, awaitEvery)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (a *Audit) awaited(ctx context.Context, rows []int64, target *int64) (status table.Status, done bool, err error) {
	now, err := a.look(ctx)
	if err != nil {
		return status, false, err
	}
	a.scope.paused = now.paused
	if *target == 0 {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		waiting, err := audit.In(a.table).Unplanned(ctx, a.pool, rows, 0)
		if err != nil || len(waiting) > 0 {
			return now.status, false, err
		}
		*target = max(now.status.Planned, 1)
	}
	base, ok := now.log.baseOf(*target)
	ends := now.shared || ok && uint64(max(*target+base, 0)) <= now.target.last // a receipt may be of what is lost
	return now.status, ends && now.receipts && now.acked >= *target, nil
}

// findNewest finds the newest event of each reordered key.
func (m *mender) findNewest(ctx context.Context) error {
	a, low := m.a, int64(0)
	m.keys = make(map[int64]int64)
	for i := range a.j.late {
		if l := &a.j.late[i]; l.reordered && !a.scope.isAccepted(l.sequence) && len(m.keys) < awaitCopies {
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

// advance looks for newer events of the reordered keys, from a position to the end of the plan. It returns which of the keys
// have a copy of ours behind an event that is newer than what was copied.
func (m *mender) advance(ctx context.Context, low int64) (overtaken []int64, err error) {
	a := m.a
	bounds, err := audit.In(a.table).Bounds(ctx, a.pool)
	if err != nil {
		return nil, err
	}
	ours := make(map[int64]bool, len(m.copies))
	for _, id := range m.copies {
		ours[id] = true
	}
	newer, stale := make(map[int64]bool), make(map[int64]bool)
	err = a.eachPlanned(ctx, low, bounds.Position, func(row *audit.Row) {
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

// newest makes sure that the last event of each reordered key has its newest state: a writer may have committed between the look
// for it and its copy, which is behind that then.
func (m *mender) newest(ctx context.Context) error {
	for range awaitOrder {
		if m.try || len(m.copies) == 0 {
			return nil
		}
		overtaken, err := m.advance(ctx, m.end+1)
		if err != nil || len(overtaken) == 0 {
			return err
		}
		step, cancel := context.WithTimeout(ctx, queryTimeout)
		copies, err := audit.In(m.a.table).Copy(step, m.a.pool, overtaken)
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
	return fmt.Errorf("writers are quicker than copies of what they write, for %d keys; run it again", len(m.keys))
}
