package outbox

import (
	"context"
	"fmt"
)

// Extend makes partitions ahead of the ids in use, so that no writer ever needs the default one, and returns how
// many it made, 64 at most. Cheap when there is nothing to do; any number may call it at once. It takes the right to
// execute outbox.extend, which works as its owner: the relay's role needs not own the table.
func (t *Table) Extend(ctx context.Context, db DB) (int, error) {
	var made int
	if err := db.QueryRow(ctx, t.q.Extend).Scan(&made); err != nil {
		return 0, fmt.Errorf("extend partitions: %w", t.migrated(err))
	}
	return made, nil
}
