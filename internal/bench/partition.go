package bench

import (
	"context"
	"fmt"
)

// Small partitions of the outbox. extend makes no more than 64 at a time and ahead of what is used, so ids jump to the last one
// in between, as they do when time passes.
const (
	countParts = `SELECT count(*)::int FROM pg_inherits WHERE inhparent = 'outbox.event'::regclass`
	makeParts  = `SELECT outbox.extend(size => 1000, ahead => $1::int, of_family => 'event')`
	jump       = `SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), max(to_key) - 2) FROM outbox.partition WHERE family = 'event'`
	leave      = `SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), greatest(max(to_key) - 3002, (SELECT max(id) FROM outbox.event)))
	FROM outbox.partition WHERE family = 'event'`
)

// partition has the outbox have at least n partitions, the last three of them ahead of what is used, as a relay keeps it; the event
// that each jump leaves is published before the measurement, or with it.
func (s *station) partition(ctx context.Context, n int) error {
	for range n {
		var have int
		if err := s.l.pool.QueryRow(ctx, s.table.SQL(countParts)).Scan(&have); err != nil {
			return fmt.Errorf("count partitions: %w", err)
		}
		if have >= n {
			if _, err := s.l.pool.Exec(ctx, s.table.SQL(leave)); err != nil {
				return fmt.Errorf("go back to the fourth partition from the end: %w", err)
			}
			return nil
		}
		for _, step := range []string{jump, makeParts} {
			args := []any{}
			if step == makeParts {
				args = append(args, min(64, n-have))
			}
			if _, err := s.l.pool.Exec(ctx, s.table.SQL(step), args...); err != nil {
				return fmt.Errorf("make partitions: %w", err)
			}
			if step == jump {
				if _, err := s.l.pool.Exec(ctx, s.table.SQL(insertMany), s.stream, 1, s.l.set.Payload); err != nil {
					return fmt.Errorf("insert after a jump: %w", err)
				}
			}
		}
	}
	return nil
}
