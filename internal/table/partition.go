package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// DefaultRetention is how long events are kept by default after the stream acknowledged them.
const DefaultRetention = 7 * 24 * time.Hour

// States of a partition. See outbox.partitions in sql/migrations/003_operate.sql.
const (
	PartitionDefault = "default" // the default partition, which should have no rows
	PartitionAhead   = "ahead"   // empty; the ids in use have not reached it
	PartitionOpen    = "open"    // receives rows now
	PartitionWaiting = "waiting" // full, but something in it is not finished: see Reason
	PartitionKept    = "kept"    // everything in it is finished, and younger than the retention
	PartitionDue     = "due"     // may be dropped
	PartitionEmptied = "emptied" // its rows are dropped; the empty table remains
)

// ErrBusy means that a transaction uses a partition. The caller should try again later.
var ErrBusy = errors.New("partition is in use by a transaction")

// Partition is a partition of the events, of the plan or of the receipts.
type Partition struct {
	Family    string // event, batch or receipt
	Name      string // of its table, in the schema of the outbox
	From, To  int64  // its lowest id or position, and the first one above it; 0 and 0 for the default partition
	CreatedAt time.Time
	State     string
	Reason    string    // what a waiting partition waits for
	DoneAt    time.Time // when the last event in it was finished; zero if one is not
	Bytes     int64     // including its indexes
}

// Extend creates partitions ahead of the ids in use, so that no row lands in the default partition, and returns how
// many it created: at most 64 per family. Their size follows the load, so that about a dozen of them span the
// retention.
//
// It costs little if nothing is to be done, and may run concurrently. It returns ErrBusy if it does not get a lock
// within 50 ms. The role needs the right to execute outbox.extend, which runs as the owner of the tables.
func (t *Table) Extend(ctx context.Context, db outbox.DB, retention time.Duration) (int, error) {
	made := 0
	for _, family := range []string{"event", "batch", "receipt"} {
		for range 64 { // one per transaction, so that each lock is held briefly
			var n int
			if err := db.QueryRow(ctx, t.q.Extend, retention.Seconds(), family).Scan(&n); err != nil {
				return made, fmt.Errorf("extend partitions: %w", busy(t.Migrated(err)))
			}
			if made += n; n == 0 {
				break
			}
		}
	}
	return made, nil
}

// Partitions lists every partition, with its state under a retention.
func (t *Table) Partitions(ctx context.Context, db outbox.DB, retention time.Duration) ([]Partition, error) {
	rows, err := db.Query(ctx, t.q.Partitions, retention.Seconds())
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", t.Migrated(err))
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Partition, err error) {
		var created, done *time.Time
		err = row.Scan(&p.Family, &p.Name, &p.From, &p.To, &created, &p.State, &p.Reason, &done, &p.Bytes)
		if created != nil {
			p.CreatedAt = *created
		}
		if done != nil {
			p.DoneAt = *done
		}
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", t.Migrated(err))
	}
	return all, nil
}

// EmptyPartition drops the rows of a partition that is due, and returns false if the partition is not due, which it
// checks again under a lock. It returns ErrBusy if it does not get the lock of that partition within 50 ms. Writers
// do not wait.
func (t *Table) EmptyPartition(ctx context.Context, db outbox.DB, name string, retention time.Duration) (emptied bool, err error) {
	err = db.QueryRow(ctx, t.q.PartitionEmpty, name, retention.Seconds()).Scan(&emptied)
	if err != nil {
		return false, fmt.Errorf("empty partition %s: %w", name, busy(err))
	}
	return emptied, nil
}

// DropPartition drops an emptied partition, and returns false if the partition has got a row since. It locks the
// whole table while it does. It returns ErrBusy if it does not get that lock within 50 ms, which is the longest that
// writers wait.
func (t *Table) DropPartition(ctx context.Context, db outbox.DB, name string) (dropped bool, err error) {
	if err := db.QueryRow(ctx, t.q.PartitionDrop, name).Scan(&dropped); err != nil {
		return false, fmt.Errorf("drop partition %s: %w", name, busy(err))
	}
	return dropped, nil
}

func busy(err error) error {
	if sqlstate.Is(err, sqlstate.LockNotAvailable) {
		return fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return err
}

// DefaultRows returns how many events are in the default partition; 1000 means 1000 or more.
func (t *Table) DefaultRows(ctx context.Context, db outbox.DB) (int, error) {
	var n int
	if err := db.QueryRow(ctx, t.q.DefaultRows).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the events in the default partition: %w", t.Migrated(err))
	}
	return n, nil
}
