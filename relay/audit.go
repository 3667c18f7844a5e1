package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// An audit compares the table, the plan, the receipts, the stream and its consumers, while writers and relays go on. It fixes the
// ends first, the last sequence of the stream and then the last position of the plan, and judges up to there: each message up
// to that sequence was planned before it was published, and what comes later is none of its business. What seems to be lost
// is looked at once more at the end.
//
// It reads the headers of the stream in order, and for each page of messages what the plan has at their positions. What it keeps is a
// bit for each position and two for each row, so that the memory it takes does not depend on payloads, nor much on how many there are.

// AuditConfig of an Audit. The zero value of a field means its default.
type AuditConfig struct {
	Stream string        // name. Required
	Since  time.Time     // only what was planned then or later. Defaults to everything
	Until  time.Time     // only what was planned before. Defaults to everything
	Grace  time.Duration // how old an event must be to be expected in the stream, and its receipt in the table. Defaults to 1 minute
	Limit  int           // findings of each kind that are named; the others are counted. Defaults to 20
	// Patience is how long a repair waits for the relay without any progress. Defaults to 1 minute.
	Patience time.Duration
	Letters  dead.Source // the dead letters of the stream; nil for none
	Name     string      // of who repairs, written beside what is planned again. Defaults to "outbox audit"
	// Progress, if set, is told how many messages have been read, of how many.
	Progress func(read, all uint64)
	// Say, if set, is told what a repair waits for, when that changes.
	Say func(note string)
}

func (c *AuditConfig) setDefaults() error {
	def(&c.Grace, time.Minute)
	def(&c.Limit, 20)
	def(&c.Patience, time.Minute)
	def(&c.Name, "outbox audit")
	if c.Progress == nil {
		c.Progress = func(uint64, uint64) {}
	}
	if c.Say == nil {
		c.Say = func(string) {}
	}
	switch {
	case !validStream(c.Stream):
		return fmt.Errorf("stream name %q: want 1 to 255 characters without dots, wildcards, slashes or white space", c.Stream)
	case c.Grace < 0 || c.Patience < 0 || c.Limit < 0:
		return errors.New("grace, patience or limit is negative")
	case !c.Since.IsZero() && !c.Until.IsZero() && !c.Since.Before(c.Until):
		return fmt.Errorf("since %s is not before until %s", c.Since.Format(time.RFC3339), c.Until.Format(time.RFC3339))
	}
	return nil
}

// Audit is one audit of an outbox and its stream. One goroutine uses it.
type Audit struct {
	cfg   AuditConfig
	r     *Relay // never runs: it knows the stream and the plan
	table *table.Table
	pool  *pgxpool.Pool
	scope scope
	j     *judge
	rows  *rowCheck
}

// ErrChanged says that the stream was made again during an audit: it has to be run again.
var ErrChanged = errors.New("stream was made again meanwhile; run the audit again")

// NewAudit checks the configuration; it connects nothing. A pooler may stand before pool.
func NewAudit(tbl *table.Table, pool *pgxpool.Pool, nc *nats.Conn, cfg AuditConfig) (*Audit, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("new audit: %w", err)
	}
	r, err := New(pool, nc, Config{Schema: tbl.Schema(), Stream: cfg.Stream, Name: cfg.Name})
	if err != nil {
		return nil, fmt.Errorf("new audit: %w", err)
	}
	return &Audit{cfg: cfg, r: r, table: tbl, pool: pool}, nil
}

// Run audits. It changes nothing. It may be called again, after a repair for example. A stream that is made meanwhile is begun with
// again, twice at most: then the error wraps ErrChanged.
func (a *Audit) Run(ctx context.Context) (report *AuditReport, err error) {
	for range 3 {
		if report, err = a.run(ctx); !errors.Is(err, ErrChanged) {
			break
		}
	}
	return report, err
}

func (a *Audit) run(ctx context.Context) (*AuditReport, error) {
	began := time.Now()
	s, err := a.fix(ctx)
	if err != nil {
		return nil, err
	}
	a.scope = *s
	a.rows = &rowCheck{planned: newBitset()}
	a.j = newJudge(a)
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() error { return a.checkRows(reading) })
	group.Go(func() error { return a.scan(reading, span{a.scope.from, a.scope.to}) })
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

// conclude judges what the readers found, after a second look at what seems to be lost.
func (a *Audit) conclude(ctx context.Context, report *AuditReport) error {
	if err := a.lookAgain(ctx, report); err != nil {
		return err
	}
	if err := a.order(ctx); err != nil {
		return err
	}
	for _, kind := range []Kind{Duplicates, Reordered, Foreign, Misplaced, Unreceipted} {
		report.Found[kind] = a.j.found[kind]
	}
	report.Accepted, report.Dropped = a.j.accepted, a.j.dropped
	report.Published = a.j.published
	if err := a.countDead(ctx, report); err != nil {
		return err
	}
	return a.consumers(ctx, report)
}

// lookAgain counts what is missing or waits. What looks lost while a relay leads gets a moment, and what the stream has got meanwhile is read.
func (a *Audit) lookAgain(ctx context.Context, report *AuditReport) error {
	if err := a.reread(ctx); err != nil {
		return err
	}
	for look := 0; ; look++ {
		if err := a.countMissing(ctx, report); err != nil {
			return err
		}
		if err := a.countWaiting(ctx, report); err != nil {
			return err
		}
		suspect := report.Found[Missing].N + report.Found[Unplanned].N + report.Found[Unpublished].N
		if suspect == 0 || look > 0 || a.scope.status.Leader == "" {
			break
		}
		sleep(ctx, secondLook)
		if err := a.reread(ctx); err != nil {
			return err
		}
	}
	if a.scope.moved { // a relay works it off
		report.Found[Unpublished] = &Found{}
	}
	return ctx.Err()
}

// secondLook is how long a relay gets to put right what it has in hand.
const secondLook = time.Second

// reread reads what the stream has got since, without judging it: only whether what seemed to be missing is there.
func (a *Audit) reread(ctx context.Context) error {
	before := a.scope
	now, err := a.look(ctx)
	if err != nil {
		return err
	}
	if !same(now.stream, before.stream) {
		return fmt.Errorf("audit stream %s: %w", a.cfg.Stream, ErrChanged)
	}
	a.scope.again(now)
	behind := span{a.scope.ended + 1, now.target.last}
	if !a.cfg.Until.IsZero() || behind.first > behind.last {
		return nil
	}
	a.j.only, a.scope.ended = true, behind.last
	return a.scan(ctx, behind)
}

// countDead counts what waits for a person.
func (a *Audit) countDead(ctx context.Context, report *AuditReport) error {
	parked, err := dead.In(a.table).OpenParked(ctx, a.pool)
	if err != nil {
		return err
	}
	places := map[Kind]dead.Source{Parked: parked, Dead: a.cfg.Letters}
	for kind, place := range places {
		if place == nil {
			continue
		}
		filter := dead.Filter{From: a.cfg.Since, Until: a.cfg.Until}
		list, err := dead.List(ctx, &filter, max(a.cfg.Limit, 1), place)
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

// accepted says whether a person has accepted what is at a sequence.
func (s *scope) isAccepted(sequence uint64) bool {
	_, found := slices.BinarySearch(s.accepted, sequence)
	return found
}
