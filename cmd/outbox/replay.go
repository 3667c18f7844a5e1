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
		Name: "replay", Usage: "publish events again: by time, subject, key, id, or behind a consumer", UsageText: "outbox replay <filter>|--all [flags] | --job <id>",
		Description: `Inserts copies of published events as new rows, in their order, and the relay publishes them like any others, behind what
waits already. A copy has an id of its own, and the header Outbox-Resend-Of names the original; it tells what was true then,
so a consumer may have seen newer events of its key. All filters have to hold.
Times are RFC 3339, or how long ago: 1h, 7d. Copies are not copied again; of events that were parked, those that a person
has mended with outbox dead are. With --to-prefix only consumers of those subjects get the copies. Start with --dry-run.

What a replay covers is fixed when it begins. Ctrl-C and kill -9 lose nothing and send nothing twice: outbox replay --job
goes on where it stopped. It waits while outbox pause --job holds it, and while too much waits for the relay. Needs the
role outbox_owner, and NATS for --after-consumer and --to-prefix.

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
		&cli.StringFlag{Name: "since", Usage: "created at this `TIME` or later: 1h ago, or 2026-01-31T14:00:00Z"},
		&cli.StringFlag{Name: "until", Usage: "created before this `TIME`"},
		&cli.StringSliceFlag{Name: "subject", Usage: "`PATTERN` of the subject, with * and > as in NATS; may be given more than once"},
		&cli.StringSliceFlag{Name: "key", Usage: "`KEY` of the event; may be given more than once"},
		&cli.Int64Flag{Name: "from-id", Usage: "rows of outbox.event from this `ID` on"},
		&cli.Int64Flag{Name: "to-id", Usage: "rows up to this `ID`, included"},
		&cli.StringSliceFlag{Name: "event-id", Usage: "`UUID` of one event, in this order; may be given more than once"},
		&cli.StringFlag{Name: "after-consumer", Usage: "what lies behind that which consumer `NAME` of the stream has acknowledged"},
		&cli.BoolFlag{Name: "all", Usage: "everything, where no filter is given"},
		&cli.Int64Flag{Name: "limit", Usage: "`N` copies at most; 0: all"},
		&cli.StringFlag{Name: "to-prefix", Usage: "`PREFIX` of the copies' subjects: side makes side.users.1.updated, which the stream has to cover"},
		&cli.BoolFlag{Name: "allow-missing", Usage: "replay what is there, though a part of what is asked for was dropped by now"},
		&cli.BoolFlag{Name: "dry-run", Usage: "say which events it would be, change nothing"},
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
	if errors.Is(err, jobs.ErrGone) {
		return fmt.Errorf("%w; --allow-missing replays what is there", err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == sqlstate.InsufficientPrivilege { // insufficient_privilege
		return fmt.Errorf("%w; a replay needs the role outbox_owner, --dry-run no more than outbox_auditor", err)
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
			return nil, exit.Usagef(c, "flag --%s %d: want a number above 0", name, c.Int64(name))
		}
	}
	switch {
	case q.Limit < 0:
		return nil, exit.Usagef(c, "flag --limit %d: want 0 or more", q.Limit)
	case q.ToID > 0 && q.FromID > q.ToID:
		return nil, exit.Usagef(c, "--from-id %d lies behind --to-id %d", q.FromID, q.ToID)
	case c.IsSet("after-consumer") && c.String("after-consumer") == "":
		return nil, exit.Usagef(c, "flag --after-consumer needs a name; outbox status shows them")
	}
	for _, pattern := range q.Subjects {
		if _, err := event.SubjectPattern(pattern); err != nil {
			return nil, exit.Usagef(c, "flag --subject: %w", err)
		}
	}
	if c.IsSet("to-prefix") {
		if err := event.ValidateSubject(q.Prefix); err != nil {
			return nil, exit.Usagef(c, "flag --to-prefix %q: want tokens joined by dots such as side: %w", q.Prefix, err)
		}
	}
	for _, text := range c.StringSlice("event-id") {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, exit.Usagef(c, "flag --event-id %q: %w", text, err)
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
				return exit.Usagef(c, "--%s does not go with --event-id, which names the events one by one", name)
			}
		}
	}
	if q.Unlimited() && !c.IsSet("after-consumer") && !c.Bool("all") {
		return exit.Usagef(c, "a filter is missing (--since, --until, --subject, --key, --from-id, --to-id, --event-id, --after-consumer), or --all; --dry-run says which events it would be")
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
		return exit.Usagef(c, "flag --since %q lies in the future", c.String("since"))
	case !q.Until.IsZero() && !q.Since.Before(q.Until):
		return exit.Usagef(c, "--since %s does not lie before --until %s", c.String("since"), c.String("until"))
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
		return time.Time{}, exit.Usagef(c, "flag --%s %q: want how long ago such as 90m, 1h or 7d, or a time such as 2026-01-31T14:00:00Z", flag, text)
	}
	return at, nil
}
