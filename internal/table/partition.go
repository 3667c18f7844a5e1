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

// DefaultRetention is how long events are kept after the stream acknowledged them, where nothing else is said.
const DefaultRetention = 7 * 24 * time.Hour

// States of a partition. See outbox.partitions in sql/migrations/003_operate.sql.
const (
	PartitionNet     = "default" // the default one
	PartitionAhead   = "ahead"   // nothing is in it yet
	PartitionOpen    = "open"    // it is being filled
	PartitionWaiting = "waiting" // full, but not everything in it is done with: Why says what
	PartitionKept    = "kept"    // done with, and younger than the retention
	PartitionDue     = "due"     // may be dropped
	PartitionEmptied = "emptied" // dropped but for its empty shell
)

// ErrBusy says that a partition is in use by a transaction, which is not waited for: the next try comes.
var ErrBusy = errors.New("partition is in use by a transaction")

// Partition is one of the table of events, of the plan or of the receipts.
type Partition struct {
	Family   string // event, batch or receipt
	Name     string // of the table, in the schema
	From, To int64  // the lowest id or position in it, and the first beyond it; 0 and 0 for the net
	MadeAt   time.Time
	State    string
	Why      string    // why it waits
	DoneAt   time.Time // when the last of it was done with; zero when it is not
	Bytes    int64     // indexes included
}

// Extend makes partitions ahead of the numbers in use, so that no writer ever needs the default one, and returns how
// many it made, 64 of each family at most. They grow with the load, so that a dozen of them span the retention. Cheap when there
// is nothing to do; any number may call it at once. What it cannot lock
// within 50 ms is ErrBusy. It takes the right to execute outbox.extend, which works as its owner: the relay's role needs not
// own the table.
func (t *Table) Extend(ctx context.Context, db outbox.DB, retention time.Duration) (int, error) {
	made := 0
	for _, family := range []string{"event", "batch", "receipt"} {
		for range 64 { // one in a transaction: what it locks, it locks for a moment
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

// Partitions lists every partition, with the state that a retention gives it.
func (t *Table) Partitions(ctx context.Context, db outbox.DB, retention time.Duration) ([]Partition, error) {
	rows, err := db.Query(ctx, t.q.Partitions, retention.Seconds())
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", t.Migrated(err))
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Partition, err error) {
		var made, done *time.Time
		err = row.Scan(&p.Family, &p.Name, &p.From, &p.To, &made, &p.State, &p.Why, &done, &p.Bytes)
		if made != nil {
			p.MadeAt = *made
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

// EmptyPartition gives the space of a partition back, and says whether it did: only one that is due, which it looks at again
// under a lock. It waits 50 ms for the lock on that partition, then it is ErrBusy; writers wait for nothing.
func (t *Table) EmptyPartition(ctx context.Context, db outbox.DB, name string, retention time.Duration) (emptied bool, err error) {
	err = db.QueryRow(ctx, t.q.PartitionEmpty, name, retention.Seconds()).Scan(&emptied)
	if err != nil {
		return false, fmt.Errorf("empty partition %s: %w", name, busy(err))
	}
	return emptied, nil
}

// DropPartition drops the shell of an emptied partition, and says whether it did: not one that got a row since. The table is
// locked for that moment. It waits 50 ms for the lock, and makes nobody wait longer; then it is ErrBusy.
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

// Net returns how many events lie in the default partition, counted up to 1000.
func (t *Table) Net(ctx context.Context, db outbox.DB) (int, error) {
	var n int
	if err := db.QueryRow(ctx, t.q.Net).Scan(&n); err != nil {
		return 0, fmt.Errorf("look into the default partition: %w", t.Migrated(err))
	}
	return n, nil
}

// Gone is the reason of a position whose event was dropped before a stream that was made again, or went back, got it.
const Gone = "gone"
