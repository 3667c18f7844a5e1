package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// ErrLocked means that other transactions kept rows locked for longer than Backfill.Patience.
var ErrLocked = errors.New("rows are locked by other transactions")

const (
	holdPause    = 25 * time.Millisecond // after the first step that met a locked row; doubles with each more
	longestPause = 2 * time.Second
	skipAfter    = 4    // after so many such steps a backfill skips the row until the end
	maxSkipped   = 1000 // rows
	maxPage      = 10_000
)

// BackfillQuery selects the rows of a backfill and describes their events. An empty Subject, Key or Columns is that
// of the attachment of the table.
type BackfillQuery struct {
	Table   string   // name as in SQL: users, shop."Order". Required
	Subject string   // template, see outbox.Attachment. Required for a table that is not attached
	Key     string   // template
	Columns []string // of the payload
	Op      string   // operation of the events, insert or update. Defaults to update
	Where   string   // SQL condition on the columns. Defaults to all rows
	Limit   int64    // events, at most; 0 for no limit
}

// BackfillSpec is a BackfillQuery that the database has checked and completed. It is the spec of the job.
type BackfillSpec struct {
	Table      string   `json:"table"` // with its schema, quoted if necessary
	Subject    string   `json:"subject"`
	Key        string   `json:"key"`
	Columns    []string `json:"columns"`
	Op         string   `json:"op"`
	Where      string   `json:"where"`
	Limit      int64    `json:"limit"`
	Attached   bool     `json:"attached"` // changes of rows during the backfill have events of their own
	PrimaryKey []string `json:"primary_key"`
	Total      int64    `json:"total"` // rows, estimated by the planner
}

// BackfillPreview is what a backfill would do.
type BackfillPreview struct {
	BackfillSpec
	Rows  int64       // rows that would get an event
	First event.Event // the first of these events: subject, key and payload
}

// StartBackfill checks a query and records it as a job. Every row that the table has now, and still has when the
// backfill reaches it, gets one event like those of the capture trigger. If the database refuses the query, the error
// is a *pgconn.PgError, whose hint names the remedy if there is one.
//
// The role must be a member of outbox_owner. For the table it needs SELECT, and UPDATE on at least one column,
// without which PostgreSQL refuses to lock rows.
func (t *Store) StartBackfill(ctx context.Context, db outbox.DB, q *BackfillQuery) (*Job, error) {
	text, err := t.backfillSpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	return t.start(ctx, db, "backfill", text)
}

// PreviewBackfill returns what a backfill would do. It changes nothing, and reads the whole table.
func (t *Store) PreviewBackfill(ctx context.Context, db outbox.DB, q *BackfillQuery) (*BackfillPreview, error) {
	text, err := t.backfillSpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	preview := new(BackfillPreview)
	if err := json.Unmarshal(text, &preview.BackfillSpec); err != nil {
		return nil, fmt.Errorf("backfill of %s: read its spec: %w", q.Table, err)
	}
	if err := db.QueryRow(ctx, t.q.BackfillPreview, string(text)).Scan(&preview.Rows, &preview.First.Subject, &preview.First.Key, &preview.First.Payload); err != nil {
		return nil, fmt.Errorf("preview a backfill of %s: %w", q.Table, err)
	}
	return preview, nil
}

func (t *Store) backfillSpec(ctx context.Context, db outbox.DB, q *BackfillQuery) (spec json.RawMessage, err error) {
	op := cmp.Or(q.Op, "update")
	var most *int64
	if q.Limit > 0 {
		most = &q.Limit
	}
	if err := db.QueryRow(ctx, t.q.BackfillSpec, q.Table, orNull(q.Subject), orNull(q.Key), q.Columns, op, orNull(q.Where), most).Scan(&spec); err != nil {
		if _, missing := t.Jobs(ctx, db, 0); errors.Is(missing, outbox.ErrNotMigrated) {
			return nil, missing
		}
		return nil, fmt.Errorf("backfill of %s: %w", q.Table, err)
	}
	return spec, nil
}

// BackfillSpec decodes the spec of a backfill.
func (j *Job) BackfillSpec() (s BackfillSpec, err error) {
	if err := json.Unmarshal(j.Spec, &s); err != nil {
		return s, fmt.Errorf("%s %s: read its spec: %w", j.Kind, j.ID, err)
	}
	return s, nil
}

// backfillPlace is where the next step of a backfill begins.
type backfillPlace struct {
	Key     []string   `json:"key"`     // the rows after this key
	Skipped [][]string `json:"skipped"` // and these rows, which were skipped
}

func (j *Job) backfillPlace() (p backfillPlace) {
	_ = json.Unmarshal(j.Last.Cursor, &p) // for messages only; a step reads it in SQL
	return p
}

// BackfillStep inserts the events of the next rows, at most n, in one transaction, and updates job.Last. It waits 100
// ms for a locked row, and then returns the error of PostgreSQL without having done anything. With skip, and n = 1,
// it skips such a row until the end instead. It returns ErrStepTaken if another process did the step.
func (t *Store) BackfillStep(ctx context.Context, db outbox.DB, job *Job, n int, skip bool) error {
	return t.takeStep(ctx, db, job, t.q.BackfillStep, job.ID.String(), job.Last.N+1, n, skip)
}

// A Backfill runs the steps of one job beside other transactions. It locks at most a page of rows, and briefly. After
// it met a lock, it pauses, longer each time, and takes smaller pages. It skips a row that stays locked until the
// end. Not safe for concurrent use.
type Backfill struct {
	Job      *Job
	Patience time.Duration       // how long it waits for rows that stay locked. NewBackfill sets 10 min
	Note     func(reason string) // called with the reason of a wait, and with "" when it continues

	t     *Store
	most  int       // rows per step after a failed one; 0 for no limit
	fails int       // consecutive failed steps
	since time.Time // of the first of them
}

// NewBackfill returns the runner of a job. note must not be nil.
func (t *Store) NewBackfill(job *Job, note func(reason string)) *Backfill {
	return &Backfill{Job: job, Patience: 10 * time.Minute, Note: note, t: t}
}

// Step runs the next step, of at most n rows. If it meets a lock, it waits a little and returns nil without progress,
// or ErrLocked once that lasts longer than Patience.
func (b *Backfill) Step(ctx context.Context, db outbox.DB, n int) error {
	if b.most > 0 {
		n = min(n, b.most)
	}
	skip := n == 1 && b.fails >= skipAfter && len(b.Job.backfillPlace().Skipped) < maxSkipped
	err := b.t.BackfillStep(ctx, db, b.Job, n, skip)
	switch {
	case err == nil:
		if b.fails > 0 {
			b.Note("")
		}
		if b.fails, b.most = 0, b.most*2; b.most > maxPage {
			b.most = 0
		}
		return nil
	case n > 1 && sqlstate.Is(err, sqlstate.CheckViolation): // take smaller pages until the row is alone
		b.most = max(n/4, 1)
		return nil
	case sqlstate.Is(err, sqlstate.CheckViolation):
		return fmt.Errorf("%w: %s exceeds the limits of an event; start a new backfill that excludes it (--where) or selects fewer columns (--columns)", err, b.next())
	case !transient(err):
		return err
	}
	return b.locked(ctx, db, n, err)
}

// locked waits after a step that met a lock.
func (b *Backfill) locked(ctx context.Context, db outbox.DB, n int, err error) error {
	if b.fails++; b.fails == 1 {
		b.since = time.Now()
	}
	b.most = max(n/4, 1)
	if b.fails > skipAfter/2 || time.Since(b.since) > b.Patience {
		who := b.holders(ctx, db)
		if time.Since(b.since) > b.Patience {
			return fmt.Errorf("backfill %s: %w for more than %s, beginning at %s (%v); open transactions on the table: %s", b.Job.ID, ErrLocked, b.Patience, b.next(), err, who)
		}
		b.Note(fmt.Sprintf("waiting for locked rows, beginning at %s; open transactions on the table: %s", b.next(), who))
	}
	pause := min(holdPause<<min(b.fails, 10), longestPause)
	return wait.For(ctx, pause/2+rand.N(pause/2))
}

// next describes the next row.
func (b *Backfill) next() string {
	p := b.Job.backfillPlace()
	switch {
	case p.Key == nil:
		return "the first row"
	case len(p.Skipped) > 0:
		return fmt.Sprintf("the row after key (%s), or row (%s)", strings.Join(p.Key, ", "), strings.Join(p.Skipped[0], ", "))
	}
	return fmt.Sprintf("the row after key (%s)", strings.Join(p.Key, ", "))
}

func (b *Backfill) holders(ctx context.Context, db outbox.DB) string {
	s, err := b.Job.BackfillSpec()
	if err != nil {
		return err.Error()
	}
	rows, err := db.Query(ctx, b.t.q.BackfillHolders, s.Table)
	if err != nil {
		return err.Error()
	}
	who, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err.Error()
	}
	if len(who) == 0 {
		return "none now"
	}
	return strings.Join(who, ", ")
}

// transient reports whether a step failed because of concurrent transactions, or took too long, so that it can be
// retried.
func transient(err error) bool {
	// PostgreSQL reports a row that moved to another partition as a serialization failure.
	return sqlstate.Is(err, sqlstate.LockNotAvailable, sqlstate.DeadlockDetected, sqlstate.SerializationFailure, sqlstate.QueryCanceled)
}
