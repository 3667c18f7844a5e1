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

// SessionIdle is how long a session may do nothing before PostgreSQL ends it; sql/queries/session.sql says so.
const SessionIdle = 8 * time.Second

// Session is the relay's one direct connection to PostgreSQL. It carries the leader lock, LISTEN, the lock that
// stands for sleeping, and the plan, so that all of them end together. It must not pass a transaction pooler. One
// goroutine uses it at a time.
type Session struct {
	t      *Table
	conn   *pgx.Conn
	relay  string
	asleep bool
	last   int // events of the last plan: as many may come again

	// For $4 of queries/plan.sql: up to settled nothing is fresh or late, and up to planned as soon as everything below own, the xid of
	// the batch that planned it, has ended.
	settled, planned int64
	own              uint64
	first            int64 // for $5: the first position of the last batch
}

// OpenSession connects and prepares a session: settings and LISTEN. name is the relay's, shown as application_name
// and written beside what it plans. ErrPooler means that a transaction pooler stands between. The caller closes it.
//
// PostgreSQL ends a session that does nothing for SessionIdle: the locks of a relay that is stopped, or whose host or
// network vanished, end with it. So its owner has to use it more often.
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

// refusePooler looks whether the backend is the one that greeted us. If not, a pooler stands between: then a round trip
// tells whether it hands backends out by the transaction.
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
	// LISTEN comes before the first look at the table.
	if _, err := s.conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.t.channel}.Sanitize()); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// Close ends the session and with it every lock it holds. It waits 5 s at most.
func (s *Session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.conn.Close(ctx) // whatever it says, the connection is gone
}

// Lead tries to become the one leader and says whether it did. It does not wait.
func (s *Session) Lead(ctx context.Context) (bool, error) {
	var leads bool
	if err := s.conn.QueryRow(ctx, s.t.q.Lead).Scan(&leads); err != nil {
		return false, fmt.Errorf("take the leader lock: %w", err)
	}
	return leads, nil
}

// Plan decides which events are next and returns them in position order: durable when it returns, none when
// nothing waits. ErrPlanned means that another relay plans. See sql/queries/plan.sql for the protocol.
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

// advance takes in a batch: its highest id, which is at most its head, its own xid, and the oldest xid that the cursor does not see.
func (s *Session) advance(high int64, own, oldest uint64) {
	if s.own != 0 && oldest <= s.own {
		return
	}
	s.settled = max(s.settled, s.planned)
	s.planned, s.own = high, own
}

// Sleep tries to take the lock that makes writers notify, and says whether it did. It fails while a writer that
// was told the relay is awake is still in flight. After a yes, look at the table once more, then Wait.
func (s *Session) Sleep(ctx context.Context) (bool, error) {
	if s.asleep {
		return true, nil
	}
	if err := s.conn.QueryRow(ctx, s.t.q.Sleep).Scan(&s.asleep); err != nil {
		return false, fmt.Errorf("take the sleep lock: %w", err)
	}
	return s.asleep, nil
}

// Awake gives the lock of Sleep back: writers stop to notify.
func (s *Session) Awake(ctx context.Context) error {
	if !s.asleep {
		return nil
	}
	if _, err := s.conn.Exec(ctx, s.t.q.Awake); err != nil {
		return fmt.Errorf("give the sleep lock back: %w", err)
	}
	s.asleep = false
	return nil
}

// Asleep reports whether the session holds the lock of Sleep.
func (s *Session) Asleep() bool { return s.asleep }

// Ping finds out whether the session still lives.
func (s *Session) Ping(ctx context.Context) error {
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping session: %w", err)
	}
	return nil
}

// Wait returns on a wake (true), after d, or when ctx ends: in every case the caller looks at the table. The
// connection stays usable. An error means that the session is lost.
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
