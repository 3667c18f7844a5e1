package outbox

import (
	"context"
	"fmt"
)

// Extend makes partitions ahead of the ids in use, so that no writer ever needs the default one, and returns how
// many it made. Cheap when there is nothing to do; any number may call it at once. It takes the right to create
// tables in the schema.
func (t *Table) Extend(ctx context.Context, db DB) (int, error) {
	var made int
	if err := db.QueryRow(ctx, t.q.Extend).Scan(&made); err != nil {
		return 0, fmt.Errorf("extend partitions: %w", t.migrated(err))
	}
	return made, nil
}
