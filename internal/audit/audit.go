package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// Config of an Audit. The zero value of a field means its default.
type Config struct {
	Stream string        // name. Required
	Since  time.Time     // audit only what was planned then or later. Defaults to everything
	Until  time.Time     // audit only what was planned before. Defaults to everything
	Grace  time.Duration // age at which an event must be in the stream, and its receipt in the table. Defaults to 1 minute
	Limit  int           // findings of each kind that the report names; it counts the others. Defaults to 20
	// Patience is how long a repair waits for the relay without progress. Defaults to 1 minute.
	Patience    time.Duration
	DeadLetters dead.Source // the dead-letter stream; nil for none
	Name        string      // of the person or program that repairs, written to the plan. Defaults to "outbox audit"
	// Progress, if set, is called with the number of messages read so far and of all messages to read.
	Progress func(read, all uint64)
	// Note, if set, is called with what a repair waits for, whenever that changes.
	Note func(note string)
}

func (c *Config) setDefaults() error {
	c.Grace = cmp.Or(c.Grace, time.Minute)
	c.Limit = cmp.Or(c.Limit, 20)
	c.Patience = cmp.Or(c.Patience, time.Minute)
	c.Name = cmp.Or(c.Name, "outbox audit")
	if c.Progress == nil {
		c.Progress = func(uint64, uint64) {}
	}
	if c.Note == nil {
		c.Note = func(string) {}
	}
	switch {
	case !stream.ValidName(c.Stream):
		return fmt.Errorf("stream name %q: want 1 to 255 characters without dots, wildcards, slashes or white space", c.Stream)
	case c.Grace < 0 || c.Patience < 0 || c.Limit < 0:
		return errors.New("grace, patience or limit is negative")
	case !c.Since.IsZero() && !c.Until.IsZero() && !c.Since.Before(c.Until):
		return fmt.Errorf("since %s is not before until %s", c.Since.Format(time.RFC3339), c.Until.Format(time.RFC3339))
	}
	return nil
}

const (
	// queryTimeout bounds one statement.
	queryTimeout = 30 * time.Second
	// resendPage is how many positions a repair moves in one transaction.
	resendPage = 4096
)

// Audit is one audit of an outbox and its stream. One goroutine uses it.
type Audit struct {
	cfg    Config
	table  *Tables
	pool   *pgxpool.Pool
	nc     *nats.Conn
	stream *stream.Reader
	scope  scope
	cmp    *comparer
	rows   *rowCheck
}

// ErrChanged reports that the stream was created again during an audit.
var ErrChanged = errors.New("stream was created again meanwhile; run the audit again")

// New checks the configuration; it connects to nothing. pool may go through a pooler.
func New(tbl *table.Table, pool *pgxpool.Pool, nc *nats.Conn, cfg Config) (*Audit, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("new audit: %w", err)
	}
	return &Audit{cfg: cfg, table: In(tbl), pool: pool, nc: nc, stream: stream.NewReader(nc, cfg.Stream)}, nil
}

// Run audits. It changes nothing, and may be called again, for example after a repair. If the stream is created again meanwhile, Run begins
// again, twice at most. Then the error wraps ErrChanged.
func (a *Audit) Run(ctx context.Context) (report *Report, err error) {
	for range 3 {
		if report, err = a.run(ctx); !errors.Is(err, ErrChanged) {
			break
		}
	}
	return report, err
}

func (a *Audit) run(ctx context.Context) (*Report, error) {
	began := time.Now()
	s, err := a.fix(ctx)
	if err != nil {
		return nil, err
	}
	a.scope = *s
	a.rows = &rowCheck{planned: newBitset()}
	a.cmp = newComparer(a)
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() error { return a.checkRows(reading) })
	group.Go(func() error { return a.scan(reading, stream.Span{First: a.scope.from, Last: a.scope.to}) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	report := newReport(a)
	if err := a.conclude(ctx, report); err != nil {
		return nil, err
	}
	report.Took = time.Since(began)
	return report, nil
}

// conclude completes the report from what the readers found, after reading again what seems to be lost.
func (a *Audit) conclude(ctx context.Context, report *Report) error {
	if err := a.recheck(ctx, report); err != nil {
		return err
	}
	if err := a.order(ctx); err != nil {
		return err
	}
	for _, kind := range []Kind{Duplicates, Reordered, Foreign, Misplaced, Unreceipted} {
		report.Found[kind] = a.cmp.found[kind]
	}
	report.Accepted, report.Dropped = a.cmp.accepted, a.cmp.dropped
	report.Published = a.cmp.published
	if err := a.countDead(ctx, report); err != nil {
		return err
	}
	return a.consumers(ctx, report)
}

// recheck counts what is missing or pending. While a relay leads it gives events that seem to be lost a second, and reads what the stream received
// meanwhile.
func (a *Audit) recheck(ctx context.Context, report *Report) error {
	if err := a.reread(ctx); err != nil {
		return err
	}
	for round := 0; ; round++ {
		if err := a.countMissing(ctx, report); err != nil {
			return err
		}
		if err := a.countWaiting(ctx, report); err != nil {
			return err
		}
		suspect := report.Found[Missing].N + report.Found[Unplanned].N + report.Found[Unpublished].N
		if suspect == 0 || round > 0 || a.scope.status.Leader == "" {
			break
		}
		_ = wait.For(ctx, recheckAfter)
		if err := a.reread(ctx); err != nil {
			return err
		}
	}
	if a.scope.moved { // a relay is publishing it
		report.Found[Unpublished] = &Found{}
	}
	return ctx.Err()
}

// recheckAfter is how long a relay gets to publish what it has in flight.
const recheckAfter = time.Second

// reread reads what the stream received since, only to find what seemed to be missing.
func (a *Audit) reread(ctx context.Context) error {
	before := a.scope
	now, err := a.readScope(ctx)
	if err != nil {
		return err
	}
	if !stream.Same(now.ID, before.ID) {
		return fmt.Errorf("audit stream %s: %w", a.cfg.Stream, ErrChanged)
	}
	a.scope.again(now)
	later := stream.Span{First: a.scope.ended + 1, Last: now.Last}
	if !a.cfg.Until.IsZero() || later.First > later.Last {
		return nil
	}
	a.cmp.only, a.scope.ended = true, later.Last
	return a.scan(ctx, later)
}

// countDead counts the events that wait for a person's decision.
func (a *Audit) countDead(ctx context.Context, report *Report) error {
	parked, err := dead.In(a.table.Table).OpenParked(ctx, a.pool)
	if err != nil {
		return err
	}
	sources := map[Kind]dead.Source{Parked: parked, Dead: a.cfg.DeadLetters}
	for kind, source := range sources {
		if source == nil {
			continue
		}
		filter := dead.Filter{From: a.cfg.Since, Until: a.cfg.Until}
		list, err := dead.List(ctx, &filter, max(a.cfg.Limit, 1), source)
		if err != nil {
			return err
		}
		found := report.Found[kind]
		found.N = int64(list.Total)
		for _, d := range list.First[:min(len(list.First), a.cfg.Limit)] {
			f := Finding{EventID: d.ID, Subject: d.Subject, Key: d.Key, Position: d.Position, Detail: d.Reason + ": " + d.Detail}
			if kind == Dead {
				f.Sequence = d.Sequence
			}
			found.First = append(found.First, f)
		}
	}
	return nil
}

// isAccepted reports whether a person has accepted the message at a sequence.
func (s *scope) isAccepted(sequence uint64) bool {
	_, found := slices.BinarySearch(s.accepted, sequence)
	return found
}
