package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func replayCommand() *cli.Command {
	flags := append(setting.Flags(""), replayFlags()...)
	return &cli.Command{
		Name: "replay", Usage: "publish events again: by time, subject, key, id, or after a consumer", UsageText: "outbox replay <filter>|--all [flags] | --job <id>",
		Description: `Inserts copies of published events as new rows, in their order; the relay publishes them after the events that are pending.
A copy has an id of its own, and its header Outbox-Resend-Of names the original. It describes the past: a consumer may have
received newer events of its key. An event must match all filters. Copies are not copied again; parked events are only
copied if a person replayed them with outbox dead.

With --to-prefix, only consumers of those subjects receive the copies. Run it with --dry-run first.

The events of a replay are fixed when it begins. After Ctrl-C or kill -9, outbox replay --job continues it; nothing is lost
or sent twice. It waits while outbox pause --job pauses it, and while more than --max-pending events are pending. It
requires the role outbox_owner, and NATS for --after-consumer and --to-prefix.

Examples:
  outbox replay --since 1h --subject 'users.*.updated' --dry-run
  outbox replay --since 1h --subject 'users.*.updated'
  outbox replay --key 42 --from-id 1000 --to-id 2000 -o json | jq .copied
  outbox replay --after-consumer billing --to-prefix billing --rate 500
  outbox replay --event-id 4b6d9a3e-8a0f-4d8b-9a53-6a1d2a9c7f10
  outbox replay --job 0b7c3c7e-1f43-4a43-9d40-3c3ad1f5d2a1`,
		Flags:  append(append(flags, jobFlags()...), term.OutputFlag()),
		Action: action("", replay),
	}
}

// replayFlags choose the events.
func replayFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "since", Usage: "`TIME` of creation or later: an age such as 1h or 7d, or 2026-01-31T14:00:00Z"},
		&cli.StringFlag{Name: "until", Usage: "`TIME` before which events were created, as in --since"},
		&cli.StringSliceFlag{Name: "subject", Usage: "`PATTERN` of the subject, with * and > as in NATS; may be given more than once"},
		&cli.StringSliceFlag{Name: "key", Usage: "`KEY` of the event; may be given more than once"},
		&cli.Int64Flag{Name: "from-id", Usage: "`ID` of the first row of outbox.event"},
		&cli.Int64Flag{Name: "to-id", Usage: "`ID` of the last row"},
		&cli.StringSliceFlag{Name: "event-id", Usage: "`UUID` of one event; may be given more than once, in the order of the copies"},
		&cli.StringFlag{Name: "after-consumer", Usage: "`NAME` of a consumer of the stream: events after the last that it has acknowledged"},
		&cli.BoolFlag{Name: "all", Usage: "all events, if there is no filter"},
		&cli.Int64Flag{Name: "limit", Usage: "`N` copies, at most; 0: all"},
		&cli.StringFlag{Name: "to-prefix", Usage: "`PREFIX` of the subjects of the copies: side gives side.users.1.updated, which the stream must cover"},
		&cli.BoolFlag{Name: "allow-missing", Usage: "replay the events that still exist, although others were dropped"},
		&cli.BoolFlag{Name: "dry-run", Usage: "list the events, change nothing"},
	}
}

func replay(ctx context.Context, s *session) error {
	run, err := readJob(s, "replay", "copied", replayFlags())
	if err != nil {
		return err
	}
	q := &jobs.ReplayQuery{}
	if !run.resumes() {
		if q, err = readReplay(s.c); err != nil {
			return err
		}
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	if run.resumes() {
		job, err := run.find(ctx)
		if err != nil {
			return err
		}
		return run.work(ctx, job, jobs.In(s.table).ReplayStep)
	}
	if err := readStream(ctx, s, q); err != nil {
		return err
	}
	if s.c.Bool("dry-run") {
		return dryReplay(ctx, s, q)
	}
	job, err := jobs.In(s.table).StartReplay(ctx, s.pool, q)
	if err != nil {
		return explainReplay(err)
	}
	return run.work(ctx, job, jobs.In(s.table).ReplayStep)
}

// explainReplay adds to an error what the caller can do: events were dropped, or a right is missing.
func explainReplay(err error) error {
	if errors.Is(err, jobs.ErrDropped) {
		return fmt.Errorf("%w; to replay the events that still exist, add --allow-missing", err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == sqlstate.InsufficientPrivilege { // insufficient_privilege
		return fmt.Errorf("%w; want the role outbox_owner, or outbox_auditor for --dry-run", err)
	}
	return err
}

// readReplay reads the filters, before any connection.
func readReplay(c *cli.Context) (q *jobs.ReplayQuery, err error) {
	q = &jobs.ReplayQuery{
		Subjects: c.StringSlice("subject"), Keys: c.StringSlice("key"), FromID: c.Int64("from-id"), ToID: c.Int64("to-id"),
		Prefix: c.String("to-prefix"), Limit: c.Int64("limit"), AllowedMissing: c.Bool("allow-missing"),
	}
	for _, name := range []string{"from-id", "to-id"} {
		if c.IsSet(name) && c.Int64(name) < 1 {
			return nil, exit.Usagef(c, "flag --%s: want a number above 0, got %d", name, c.Int64(name))
		}
	}
	switch {
	case q.Limit < 0:
		return nil, exit.Usagef(c, "flag --limit: want 0 or more, got %d", q.Limit)
	case q.ToID > 0 && q.FromID > q.ToID:
		return nil, exit.Usagef(c, "want --from-id of at most --to-id, got %d and %d", q.FromID, q.ToID)
	case c.IsSet("after-consumer") && c.String("after-consumer") == "":
		return nil, exit.Usagef(c, "flag --after-consumer: want the name of a consumer; run: outbox status")
	}
	for _, pattern := range q.Subjects {
		if _, err := event.SubjectPattern(pattern); err != nil {
			return nil, exit.Usagef(c, "flag --subject: %w", err)
		}
	}
	if c.IsSet("to-prefix") {
		if err := event.ValidateSubject(q.Prefix); err != nil {
			return nil, exit.Usagef(c, "flag --to-prefix: want tokens joined by dots such as side, got %q: %w", q.Prefix, err)
		}
	}
	for _, text := range c.StringSlice("event-id") {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, exit.Usagef(c, "flag --event-id: want a UUID, got %q", text)
		}
		q.EventIDs = append(q.EventIDs, id)
	}
	if err := readSpan(c, q); err != nil {
		return nil, err
	}
	return q, checkFilters(c, q)
}

// checkFilters returns an error for filters that exclude each other, and without any filter.
func checkFilters(c *cli.Context, q *jobs.ReplayQuery) error {
	if len(q.EventIDs) > 0 {
		for _, name := range []string{"since", "until", "subject", "key", "from-id", "to-id", "after-consumer", "all", "limit"} {
			if c.IsSet(name) {
				return exit.Usagef(c, "--%s and --event-id exclude each other", name)
			}
		}
	}
	if q.Unlimited() && !c.IsSet("after-consumer") && !c.Bool("all") {
		return exit.Usagef(c, "missing filter; want --since, --until, --subject, --key, --from-id, --to-id, --event-id, --after-consumer or --all; --dry-run lists the events")
	}
	return nil
}

// readSpan reads --since and --until.
func readSpan(c *cli.Context, q *jobs.ReplayQuery) (err error) {
	now := time.Now()
	if q.Since, err = moment(c, "since", now); err != nil {
		return err
	}
	if q.Until, err = moment(c, "until", now); err != nil {
		return err
	}
	switch {
	case q.Since.After(now):
		return exit.Usagef(c, "flag --since: want a time in the past, got %q", c.String("since"))
	case !q.Until.IsZero() && !q.Since.Before(q.Until):
		return exit.Usagef(c, "want --since before --until, got %s and %s", c.String("since"), c.String("until"))
	}
	return nil
}

// moment is the time of a flag, which may be a time or an age before now; zero if the flag is not set.
func moment(c *cli.Context, flag string, now time.Time) (time.Time, error) {
	text := c.String(flag)
	if !c.IsSet(flag) {
		return time.Time{}, nil
	}
	if ago, err := setting.Days(text); err == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, exit.Usagef(c, "flag --%s: want an age such as 90m, 1h or 7d, or a time such as 2026-01-31T14:00:00Z, got %q", flag, text)
	}
	return at, nil
}
