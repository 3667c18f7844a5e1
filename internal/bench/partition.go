package bench

import (
	"context"
	"fmt"
)

// Small partitions of the outbox. extend creates at most 64 at a time, ahead of the ids in use. So ids jump to the last
// partition in between, as if events had used them.
const (
	countParts  = `SELECT count(*)::int FROM pg_inherits WHERE inhparent = 'outbox.event'::regclass`
	createParts = `SELECT outbox.extend(size => 1000, ahead => $1::int, of_family => 'event')`
	jump        = `SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), max(to_key) - 2) FROM outbox.partition WHERE family = 'event'`
	jumpBack    = `SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), greatest(max(to_key) - 3002, (SELECT max(id) FROM outbox.event)))
	FROM outbox.partition WHERE family = 'event'`
)

// partition creates partitions until the outbox has at least n, of which the last three are ahead of the ids in use, as a
// relay keeps them. Each jump inserts one event, which is published before the measurement or as a part of it.
func (e *environment) partition(ctx context.Context, n int) error {
	for range n {
		var have int
		if err := e.s.pool.QueryRow(ctx, e.table.SQL(countParts)).Scan(&have); err != nil {
			return fmt.Errorf("count partitions: %w", err)
		}
		if have >= n {
			if _, err := e.s.pool.Exec(ctx, e.table.SQL(jumpBack)); err != nil {
				return fmt.Errorf("set the next id into the fourth partition from the end: %w", err)
			}
			return nil
		}
		if _, err := e.s.pool.Exec(ctx, e.table.SQL(jump)); err != nil {
			return fmt.Errorf("set the next id into the last partition: %w", err)
		}
		if _, err := e.s.pool.Exec(ctx, e.table.SQL(insertMany), e.stream, 1, e.s.set.Payload); err != nil {
			return fmt.Errorf("insert an event after a jump: %w", err)
		}
		if _, err := e.s.pool.Exec(ctx, e.table.SQL(createParts), min(64, n-have)); err != nil {
			return fmt.Errorf("create partitions: %w", err)
		}
	}
	return nil
}
