package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// ServerFacts is what outbox doctor wants to know of a PostgreSQL server.
type ServerFacts struct {
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

// TableFacts is what the protocol relies on in one outbox.
type TableFacts struct {
	XidColumn, IDColumn int      // places of the columns, from 1; 0: missing
	Cache               int64    // of the sequence behind id
	Wake                string   // trigger: O on, D off, R and A as in pg_trigger.tgenabled, empty: missing
	Missing             []string // rights that a relay needs and the role has not: "INSERT on outbox.batch"
	CanExtend           bool     // the role may make partitions

	LastID      int64 // the highest id in use; this and the next two only if no right is missing
	Bound       int64 // the first id beyond the last partition
	DefaultUsed bool  // the default partition has rows
}

// SessionFacts is what came of a round trip: a pooler in transaction mode fails it.
type SessionFacts struct {
	SameBackend bool // two statements of one connection ran in one backend, while another one was busy
	LockHeld    bool // a session lock was still held at the second
	Notified    bool // a NOTIFY from another connection arrived
}

// InspectServer reads what doctor wants to know of the server. long is the age from which a transaction is listed.
func (t *Table) InspectServer(ctx context.Context, db DB, long time.Duration) (ServerFacts, error) {
	q, err := text.DoctorFor(t.q.Schema)
	if err != nil {
		return ServerFacts{}, err
	}
	var f ServerFacts
	var now time.Time
	asked := time.Now()
	err = db.QueryRow(ctx, q.Server).Scan(&f.VersionNumber, &f.Version, &f.Standby, &f.Fsync, &f.FullPageWrites,
		&f.SynchronousCommit, &f.Role, &f.SeesAll, &now)
	f.Skew = SkewOf(now, asked, time.Now())
	if err != nil {
		return ServerFacts{}, fmt.Errorf("inspect server: %w", err)
	}
	rows, err := db.Query(ctx, q.Long, long.Seconds())
	if err != nil {
		return ServerFacts{}, fmt.Errorf("inspect transactions: %w", err)
	}
	f.Long, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l LongTransaction, err error) {
		var age float64
		err = row.Scan(&l.PID, &l.Role, &l.Application, &l.State, &age)
		l.Age = time.Duration(age * float64(time.Second))
		return l, err
	})
	if err != nil {
		return ServerFacts{}, fmt.Errorf("inspect transactions: %w", err)
	}
	return f, nil
}

// InspectTable reads what doctor wants to know of the outbox. One that does not exist is ErrNotMigrated.
func (t *Table) InspectTable(ctx context.Context, db DB) (TableFacts, error) {
	q, err := text.DoctorFor(t.q.Schema)
	if err != nil {
		return TableFacts{}, err
	}
	var f TableFacts
	err = db.QueryRow(ctx, q.Table, t.q.Schema).Scan(&f.XidColumn, &f.IDColumn, &f.Cache, &f.Wake, &f.Missing, &f.CanExtend)
	if errors.Is(err, pgx.ErrNoRows) {
		return TableFacts{}, fmt.Errorf("inspect table: %w: schema %q", ErrNotMigrated, t.q.Schema)
	}
	if err != nil {
		return TableFacts{}, fmt.Errorf("inspect table: %w", err)
	}
	if len(f.Missing) > 0 {
		return f, nil
	}
	if err := db.QueryRow(ctx, q.Partitions).Scan(&f.LastID, &f.Bound, &f.DefaultUsed); err != nil {
		return TableFacts{}, fmt.Errorf("inspect partitions: %w", err)
	}
	return f, nil
}

// InspectSession finds out whether connections made with config can carry a relay's session: it takes a lock and
// listens on one, and notifies from another. It waits for the notification no longer than wait.
func (t *Table) InspectSession(ctx context.Context, config *pgx.ConnConfig, wait time.Duration) (SessionFacts, error) {
	q, err := text.DoctorFor(t.q.Schema)
	if err != nil {
		return SessionFacts{}, err
	}
	config = config.Copy()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // prepared statements fail behind some poolers for reasons of their own
	listener, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return SessionFacts{}, fmt.Errorf("inspect session: %w", err)
	}
	defer closeSoon(listener)
	writer, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return SessionFacts{}, fmt.Errorf("inspect session: %w", err)
	}
	defer closeSoon(writer)
	f, err := roundTrip(ctx, &q, listener, writer, wait)
	if err != nil {
		return SessionFacts{}, fmt.Errorf("inspect session: %w", err)
	}
	return f, nil
}

func roundTrip(ctx context.Context, q *text.DoctorStatements, listener, writer *pgx.Conn, wait time.Duration) (f SessionFacts, err error) {
	name := fmt.Sprintf("outbox.doctor.%08x", rand.Uint32())
	if _, err := listener.Exec(ctx, "LISTEN "+pgx.Identifier{name}.Sanitize()); err != nil {
		return f, fmt.Errorf("listen: %w", err)
	}
	var before, after int32
	if err := listener.QueryRow(ctx, q.Lock, name).Scan(&before, &f.LockHeld); err != nil {
		return f, fmt.Errorf("take a session lock: %w", err)
	}
	// The writer's transaction keeps a backend busy: a pooler that gave the listener's back hands out this one.
	err = pgx.BeginFunc(ctx, writer, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, q.Notify, name); err != nil {
			return fmt.Errorf("notify: %w", err)
		}
		if err := listener.QueryRow(ctx, q.Held, name).Scan(&after, &f.LockHeld); err != nil {
			return fmt.Errorf("look at the session lock: %w", err)
		}
		return nil
	})
	if err != nil {
		return f, err
	}
	f.SameBackend = before == after
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_, err = listener.WaitForNotification(waiting)
	if err != nil && !pgconn.Timeout(err) {
		return f, fmt.Errorf("wait for the notification: %w", err)
	}
	f.Notified = err == nil
	tidy(ctx, q, listener, name)
	return f, nil
}

// tidy gives the lock and the channel back, as well as it can: behind a pooler they would outlive the connection,
// and may be in another backend.
func tidy(ctx context.Context, q *text.DoctorStatements, listener *pgx.Conn, name string) {
	_, _ = listener.Exec(ctx, q.Unlock, name)
	_, _ = listener.Exec(ctx, "UNLISTEN *")
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // whatever it says, the connection is gone
}
