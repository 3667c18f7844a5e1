package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Server is what outbox doctor wants to know of a PostgreSQL server.
type Server struct {
	VersionNumber     int    // 150018
	Version           string // as the server says it
	Standby           bool   // it replays another server and cannot be written to
	Fsync             string // settings, as SHOW says them
	FullPageWrites    string
	SynchronousCommit string
	Role              string // as whom we are connected
	SeesAll           bool   // the role sees the transactions of others
	Long              []LongTransaction
	Skew              time.Duration // of its clock against ours, as far as the round trip allows to say
}

// LongTransaction is one that has been open for long.
type LongTransaction struct {
	PID                      int32
	Role, Application, State string
	Age                      time.Duration
}

// Table is what the protocol relies on in one outbox.
type Table struct {
	XidColumn, IDColumn int      // places of the columns, from 1; 0: missing
	Cache               int64    // of the sequence behind id
	Wake                string   // trigger: O on, D off, R and A as in pg_trigger.tgenabled, empty: missing
	Missing             []string // rights that a relay needs and the role has not: "INSERT on outbox.batch"
	CanExtend           bool     // the role may make partitions

	LastID      int64 // the highest id in use; this and the next two only if no right is missing
	Bound       int64 // the first id beyond the last partition
	DefaultUsed bool  // the default partition has rows
}

// Server reads what doctor wants to know of the server. long is the age from which a transaction is listed.
func (r *Reader) Server(ctx context.Context, db outbox.DB, long time.Duration) (Server, error) {
	var f Server
	var now time.Time
	asked := time.Now()
	err := db.QueryRow(ctx, r.q.Server).Scan(&f.VersionNumber, &f.Version, &f.Standby, &f.Fsync, &f.FullPageWrites,
		&f.SynchronousCommit, &f.Role, &f.SeesAll, &now)
	f.Skew = SkewOf(now, asked, time.Now())
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

// Table reads what doctor wants to know of the outbox. One that does not exist is ErrNotMigrated.
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
