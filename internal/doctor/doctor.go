package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Server is a PostgreSQL server.
type Server struct {
	VersionNumber     int    // such as 150018
	Version           string // such as 15.18
	Standby           bool   // it follows another server and accepts no writes
	Fsync             string // settings, as SHOW prints them
	FullPageWrites    string
	SynchronousCommit string
	Role              string // of the connection
	SeesAll           bool   // the role may see the transactions of other roles
	Long              []LongTransaction
	Skew              time.Duration // of its clock, see ClockSkew
}

// LongTransaction is a transaction that has been open for long.
type LongTransaction struct {
	PID                      int32
	Role, Application, State string
	Age                      time.Duration
}

// Table is what the protocol relies on in an outbox.
type Table struct {
	XidColumn, IDColumn int      // numbers of the columns, from 1; 0 if missing
	Cache               int64    // of the sequence of id
	Wake                string   // pg_trigger.tgenabled of the trigger: O for enabled, D for disabled, R or A; empty if missing
	Missing             []string // rights that a relay needs and the role lacks, such as "INSERT on outbox.batch"
	CanExtend           bool     // the role may create partitions

	LastID      int64 // the highest id in use. This and the next two fields are set only if no right is missing
	Bound       int64 // the first id above the last partition
	DefaultUsed bool  // the default partition has rows
}

// Server reads the facts about the server. It lists transactions that are open for longer than long.
func (r *Reader) Server(ctx context.Context, db outbox.DB, long time.Duration) (Server, error) {
	var f Server
	var now time.Time
	asked := time.Now()
	err := db.QueryRow(ctx, r.q.Server).Scan(&f.VersionNumber, &f.Version, &f.Standby, &f.Fsync, &f.FullPageWrites,
		&f.SynchronousCommit, &f.Role, &f.SeesAll, &now)
	f.Skew = ClockSkew(now, asked, time.Now())
	if err != nil {
		return Server{}, fmt.Errorf("inspect server: %w", err)
	}
	rows, err := db.Query(ctx, r.q.LongTransactions, long.Seconds())
	if err != nil {
		return Server{}, fmt.Errorf("inspect transactions: %w", err)
	}
	f.Long, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l LongTransaction, err error) {
		var age float64
		err = row.Scan(&l.PID, &l.Role, &l.Application, &l.State, &age)
		l.Age = time.Duration(age * float64(time.Second))
		return l, err
	})
	if err != nil {
		return Server{}, fmt.Errorf("inspect transactions: %w", err)
	}
	return f, nil
}

// Table reads the facts about the outbox. It returns outbox.ErrNotMigrated if there is none.
func (r *Reader) Table(ctx context.Context, db outbox.DB) (Table, error) {
	var f Table
	err := db.QueryRow(ctx, r.q.Table, r.t.Schema()).Scan(&f.XidColumn, &f.IDColumn, &f.Cache, &f.Wake, &f.Missing, &f.CanExtend)
	if errors.Is(err, pgx.ErrNoRows) {
		return Table{}, fmt.Errorf("inspect table: %w: schema %q", outbox.ErrNotMigrated, r.t.Schema())
	}
	if err != nil {
		return Table{}, fmt.Errorf("inspect table: %w", err)
	}
	if len(f.Missing) > 0 {
		return f, nil
	}
	if err := db.QueryRow(ctx, r.q.Partitions).Scan(&f.LastID, &f.Bound, &f.DefaultUsed); err != nil {
		return Table{}, fmt.Errorf("inspect partitions: %w", err)
	}
	return f, nil
}
