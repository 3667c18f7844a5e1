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

// ErrHeld says that rows were locked by others for as long as was waited.
var ErrHeld = errors.New("rows are locked by others")

const (
	holdPause    = 25 * time.Millisecond // after the first step that met a locked row, twice as long after each more
	longestPause = 2 * time.Second
	leaveAfter   = 4    // such steps with the same row: it is left for the end
	mostLeft     = 1000 // rows
	maxPage      = 10_000
)

// BackfillQuery says which rows get events, and which. What is empty is as the table's attach has it.
type BackfillQuery struct {
	Table   string   // as SQL names it: users, shop."Order"
	Subject string   // template, see Attachment. Needed for a table that is not attached
	Key     string   // template
	Columns []string // of the payload
	Op      string   // what the events say of themselves, insert or update. Defaults to update
	Where   string   // a condition on the columns; empty: all rows
	Limit   int64    // events; 0: no limit
}

// BackfillSpec is a query checked against the database and completed. It is the spec of the job.
type BackfillSpec struct {
	Table      string   `json:"table"` // with its schema, quoted where need be
	Subject    string   `json:"subject"`
	Key        string   `json:"key"`
	Columns    []string `json:"columns"`
	Op         string   `json:"op"`
	Where      string   `json:"where"`
	Limit      int64    `json:"limit"`
	Attached   bool     `json:"attached"` // what changes meanwhile has events of its own
	PrimaryKey []string `json:"primary_key"`
	Total      int64    `json:"total"` // rows, as the planner estimates them
}

// BackfillLook is what a backfill would do.
type BackfillLook struct {
	BackfillSpec
	Rows  int64       // that would get an event, counted
	First event.Event // of them: subject, key and payload
}

// StartBackfill checks a query and notes it as a job: every row that the table has now, and still has when its turn comes, gets one event
// that looks like one of the capture trigger. An error of the database (*pgconn.PgError) has a hint where there is a way out. Needs outbox_owner, and
// for the table SELECT and UPDATE on one of its columns, without which no row can be locked.
func (t *Store) StartBackfill(ctx context.Context, db outbox.DB, q *BackfillQuery) (*Job, error) {
	text, err := t.backfillSpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	return t.startJob(ctx, db, "backfill", text)
}

// LookBackfill says what a backfill would do, and does nothing. It reads the whole table.
func (t *Store) LookBackfill(ctx context.Context, db outbox.DB, q *BackfillQuery) (*BackfillLook, error) {
	text, err := t.backfillSpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	look := new(BackfillLook)
	if err := json.Unmarshal(text, &look.BackfillSpec); err != nil {
		return nil, fmt.Errorf("backfill of %s: read its spec: %w", q.Table, err)
	}
	if err := db.QueryRow(ctx, t.q.BackfillPreview, string(text)).Scan(&look.Rows, &look.First.Subject, &look.First.Key, &look.First.Payload); err != nil {
		return nil, fmt.Errorf("look at a backfill of %s: %w", q.Table, err)
	}
	return look, nil
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

// BackfillSpec is what a backfill was asked for.
func (j *Job) BackfillSpec() (s BackfillSpec, err error) {
	if err := json.Unmarshal(j.Spec, &s); err != nil {
		return s, fmt.Errorf("%s %s: read its spec: %w", j.Kind, j.ID, err)
	}
	return s, nil
}

// A backfillPlace is where a backfill goes on.
type backfillPlace struct {
	Key     []string   `json:"key"`     // behind this one
	Skipped [][]string `json:"skipped"` // and with these, that were left
}

func (j *Job) backfillPlace() (p backfillPlace) {
	_ = json.Unmarshal(j.Last.Place, &p) // only told to people
	return p
}

// BackfillStep makes events of the next rows, n at most, in one transaction. Done when job.Last.Done is. It waits 100 ms for a row that somebody
// else has locked, and fails then: nothing is done. With leave, and n 1, such a row is left for the end. ErrStepTaken means that another
// process did it.
func (t *Store) BackfillStep(ctx context.Context, db outbox.DB, job *Job, n int, leave bool) error {
	return t.takeStep(ctx, db, job, t.q.BackfillStep, job.ID.String(), job.Last.N+1, n, leave)
}

// A Backfill does the steps of one job and remembers what stood in their way. It holds at most as many rows as a page has, and for
// a moment, so that it hardly stands in the way of others: smaller pages where it meets locks, a pause that grows, and a row that stays
// locked is left for the end. One goroutine.
type Backfill struct {
	Job      *Job
	Patience time.Duration     // that rows which stay locked are waited for. Defaults to 10 min
	Say      func(note string) // is told why it waits, and nothing once it goes on

	t     *Store
	most  int // rows in a step, after those that failed; 0: no limit
	fails int // one after the other
	since time.Time
}

// NewBackfill prepares to do a job.
func (t *Store) NewBackfill(job *Job, say func(note string)) *Backfill {
	return &Backfill{Job: job, Patience: 10 * time.Minute, Say: say, t: t}
}

// Step does the next step, or waits a little and does nothing if it met a lock. ErrHeld when it met one for longer than Patience.
func (b *Backfill) Step(ctx context.Context, db outbox.DB, n int) error {
	if b.most > 0 {
		n = min(n, b.most)
	}
	left := b.Job.backfillPlace().Skipped
	leave := n == 1 && b.fails >= leaveAfter && len(left) < mostLeft
	err := b.t.BackfillStep(ctx, db, b.Job, n, leave)
	switch {
	case err == nil:
		if b.fails > 0 {
			b.Say("")
		}
		if b.fails, b.most = 0, b.most*2; b.most > maxPage {
			b.most = 0
		}
		return nil
	case n > 1 && sqlstate.Is(err, sqlstate.CheckViolation): // until the row is found
		b.most = max(n/4, 1)
		return nil
	case sqlstate.Is(err, sqlstate.CheckViolation):
		return fmt.Errorf("%w: the row %s can be no event; leave it out with --where, or take less of it with --columns, in a new backfill", err, b.behind())
	case !standsInTheWay(err):
		return err
	}
	return b.held(ctx, db, n, err)
}

// held waits after a step that met a lock.
func (b *Backfill) held(ctx context.Context, db outbox.DB, n int, err error) error {
	if b.fails++; b.fails == 1 {
		b.since = time.Now()
	}
	b.most = max(n/4, 1)
	if b.fails > leaveAfter/2 || time.Since(b.since) > b.Patience {
		who := b.holders(ctx, db)
		if time.Since(b.since) > b.Patience {
			return fmt.Errorf("backfill %s: %w, %s, for %s (%v); open transactions on the table: %s", b.Job.ID, ErrHeld, b.behind(), b.Patience, err, who)
		}
		b.Say(fmt.Sprintf("rows %s are locked; open transactions on the table: %s", b.behind(), who))
	}
	pause := min(holdPause<<min(b.fails, 10), longestPause)
	return wait.For(ctx, pause/2+rand.N(pause/2))
}

// behind says which row is next.
func (b *Backfill) behind() string {
	p := b.Job.backfillPlace()
	switch {
	case p.Key == nil:
		return "at the beginning"
	case len(p.Skipped) > 0:
		return fmt.Sprintf("behind key (%s), or (%s)", strings.Join(p.Key, ", "), strings.Join(p.Skipped[0], ", "))
	}
	return fmt.Sprintf("behind key (%s)", strings.Join(p.Key, ", "))
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
		return "none any more"
	}
	return strings.Join(who, ", ")
}

// standsInTheWay says that a step failed because of what others do at the same time, or took too long, and can be tried again.
func standsInTheWay(err error) bool {
	// A row that moved to another partition is a serialization failure.
	return sqlstate.Is(err, sqlstate.LockNotAvailable, sqlstate.DeadlockDetected, sqlstate.SerializationFailure, sqlstate.QueryCanceled)
}
