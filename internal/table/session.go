package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

// SessionIdle is how long a session may be idle before PostgreSQL ends it. sql/queries/session.sql sets the same.
const SessionIdle = 8 * time.Second

// Session is the relay's one direct connection to PostgreSQL. It carries the leader lock, LISTEN, the sleep lock and
// the plan, so that all of them end together. It must not pass a transaction pooler. Not safe for concurrent use.
type Session struct {
	t      *Table
	conn   *pgx.Conn
	relay  string
	asleep bool
	last   int // events of the last plan, which predicts the size of the next

	// For $4 of queries/plan.sql. Every row with an id up to settled has its position. So will every row up to
	// planned, as soon as all transactions below own have ended, the xid of the batch that planned it.
	settled, planned int64
	own              uint64
	first            int64 // first position of the last batch, for $5
}

// OpenSession connects, configures the session and starts to listen. name is that of the relay: it becomes part of
// the application_name and is recorded with each batch. OpenSession returns ErrPooler if the connection passes a
// transaction pooler. The caller must close the session.
//
// PostgreSQL ends a session that is idle for SessionIdle, and with it the locks of a relay that was stopped or whose
// host or network failed. So the caller must use the session more often than that.
func (t *Table) OpenSession(ctx context.Context, config *pgx.ConnConfig, name string) (*Session, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	s := &Session{t: t, conn: conn, relay: name}
	if err = s.refusePooler(ctx); err == nil {
		err = s.prepare(ctx)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open session: %w", err)
	}
	return s, nil
}

// refusePooler returns ErrPooler if a pooler in transaction mode is in the way. If the backend is not the one that
// accepted the connection, there is some pooler, and a round trip shows its mode.
func (s *Session) refusePooler(ctx context.Context) error {
	var pid uint32
	if err := s.conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		return fmt.Errorf("identify the backend: %w", err)
	}
	if pid == s.conn.PgConn().PID() {
		return nil
	}
	f, err := s.t.InspectSession(ctx, s.conn.Config(), 3*time.Second)
	if err != nil || !f.SameBackend || !f.LockHeld || !f.Notified {
		return errors.Join(ErrPooler, err)
	}
	return nil
}

func (s *Session) prepare(ctx context.Context) error {
	if _, err := s.conn.Exec(ctx, s.t.q.Session, "outbox relay "+s.relay); err != nil {
		return fmt.Errorf("prepare settings: %w", err)
	}
	if err := s.t.CheckMigrated(ctx, s.conn); err != nil {
		return err
	}
	// LISTEN must come before the first poll of the table, or a wake between the two would be lost.
	if _, err := s.conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.t.channel}.Sanitize()); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// Close ends the session, which releases its locks. It takes 5 s at most.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // the connection is closed either way
}

// Lead tries to take the leader lock and returns whether the session holds it. It does not wait.
func (s *Session) Lead(ctx context.Context) (bool, error) {
	var leads bool
	if err := s.conn.QueryRow(ctx, s.t.q.Lead).Scan(&leads); err != nil {
		return false, fmt.Errorf("take the leader lock: %w", err)
	}
	return leads, nil
}

// Plan decides which events are next and returns them in the order of their positions, or none if none is pending.
// The plan is durable when Plan returns. It returns ErrPlanned if another relay planned meanwhile. See
// sql/queries/plan.sql for the protocol.
func (s *Session) Plan(ctx context.Context, page Page) ([]Planned, error) {
	rows, err := s.conn.Query(ctx, s.t.q.Plan, page.Events, page.Bytes, s.relay, s.settled, s.first)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	var own, oldest uint64
	events, err := scanPlanned(rows, false, s.last, &own, &oldest)
	s.last = len(events)
	if sqlstate.Is(err, sqlstate.UniqueViolation) {
		return nil, fmt.Errorf("plan: %w: %w", ErrPlanned, err)
	}
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	events = number(events)
	if n := len(events); n > 0 {
		s.first = events[0].Position
		s.advance(events[n-1].RowID, own, oldest)
	}
	return events, nil
}

// advance records a batch: its highest id, which is at most its head, its own xid, and the oldest xid that its
// snapshot does not see.
func (s *Session) advance(high int64, own, oldest uint64) {
	if s.own != 0 && oldest <= s.own {
		return
	}
	s.settled = max(s.settled, s.planned)
	s.planned, s.own = high, own
}

// Sleep tries to take the sleep lock, which makes writers notify, and returns whether the session holds it. That
// fails while the transaction of a writer that found the relay awake is open. Once Sleep returns true, the caller
// must poll the table once more before it calls Wait.
func (s *Session) Sleep(ctx context.Context) (bool, error) {
	if s.asleep {
		return true, nil
	}
	if err := s.conn.QueryRow(ctx, s.t.q.Sleep).Scan(&s.asleep); err != nil {
		return false, fmt.Errorf("take the sleep lock: %w", err)
	}
	return s.asleep, nil
}

// Awake releases the sleep lock: writers no longer notify.
func (s *Session) Awake(ctx context.Context) error {
	if !s.asleep {
		return nil
	}
	if _, err := s.conn.Exec(ctx, s.t.q.Awake); err != nil {
		return fmt.Errorf("release the sleep lock: %w", err)
	}
	s.asleep = false
	return nil
}

// Asleep reports whether the session holds the sleep lock.
func (s *Session) Asleep() bool { return s.asleep }

// Ping returns an error if the session is lost.
func (s *Session) Ping(ctx context.Context) error {
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping session: %w", err)
	}
	return nil
}

// Wait waits for a wake, but not longer than d or ctx. It returns true on a wake. The caller should poll the table in
// either case. An error means that the session is lost; otherwise it stays usable.
func (s *Session) Wait(ctx context.Context, d time.Duration) (woken bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_, err = s.conn.WaitForNotification(ctx)
	if err == nil {
		return true, nil
	}
	if ctx.Err() != nil && (pgconn.Timeout(err) || errors.Is(err, context.Canceled)) {
		return false, nil
	}
	return false, fmt.Errorf("wait for a wake: %w", err)
}
