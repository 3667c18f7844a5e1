package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func deadCommand() *cli.Command {
	return &cli.Command{
		Name: "dead", Usage: "inspect, replay or drop events that wait for a person", UsageText: "outbox dead <list|show|replay|drop> [flags]",
		Description: `A dead event waits for a decision by a person. It has one of two sources: parked events were rejected by the
stream permanently, for example because they are too large or the stream does not cover their subject; dead letters are
events that a consumer cannot process, for example because they lack a field that a rule needs.

Remove the cause first, then replay the events. Drop those whose cause cannot be removed.

Examples:
  outbox dead list
  outbox dead show --source dead-letters --number 17
  outbox dead replay --reason too_large --dry-run
  outbox dead drop --event-id 4b6d9a3e-8a0f-4d8b-9a53-6a1d2a9c7f10 --yes`,
		Subcommands: []*cli.Command{deadListCommand(), deadShowCommand(), deadReplayCommand(), deadDropCommand()},
	}
}

// deadFlags are the flags that choose events.
func deadFlags(limit int, more ...cli.Flag) []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "source", Value: "all", Usage: "`SOURCE` of the events: parked, dead-letters or all"},
		&cli.Int64Flag{Name: "number", Usage: "`NUMBER` of one event in its source, as outbox dead list prints it"},
		&cli.StringFlag{Name: "event-id", Usage: "`UUID` of one event"},
		&cli.StringFlag{Name: "reason", Usage: "`TEXT` that is the reason or occurs in its detail"},
		&cli.StringFlag{Name: "subject", Usage: "`PATTERN` of the subject, with * and > as in NATS"},
		&cli.StringFlag{Name: "older-than", Usage: "dead for longer than this `TIME`"},
		&cli.StringFlag{Name: "newer-than", Usage: "dead for at most this `TIME`"},
		&cli.IntFlag{Name: "limit", Value: limit, Usage: "`N` events, at most; 0: all"},
	}
	return slices.Concat(flags, more, []cli.Flag{term.OutputFlag()}, setting.Flags("invalidate", "dead-stream"))
}

// A deadQuery chooses dead events.
type deadQuery struct {
	filter              dead.Filter
	parked, deadLetters bool
	limit               int
}

func readDeadQuery(c *cli.Context) (q deadQuery, err error) {
	source := c.String("source")
	if err := setting.OneOf("all", dead.SourceParked, dead.SourceDeadLetters)(source); err != nil {
		return q, exit.Usagef(c, "flag --source: %w", err)
	}
	q.parked, q.deadLetters = source != dead.SourceDeadLetters, source != dead.SourceParked
	if q.filter.Number = c.Int64("number"); c.IsSet("number") && (q.filter.Number < 1 || source == "all") {
		return q, exit.Usagef(c, "flag --number: want a number above 0, with --source parked or --source dead-letters, got %d", q.filter.Number)
	}
	if id := c.String("event-id"); id != "" {
		if q.filter.EventID, err = uuid.Parse(id); err != nil {
			return q, exit.Usagef(c, "flag --event-id: want a UUID, got %q", id)
		}
	}
	q.filter.Reason = c.String("reason")
	if pattern := c.String("subject"); pattern != "" {
		if q.filter.Subject, err = event.SubjectPattern(pattern); err != nil {
			return q, exit.Usagef(c, "flag --subject: %w", err)
		}
	}
	if q.filter.Until, err = ago(c, "older-than"); err != nil {
		return q, err
	}
	if q.filter.From, err = ago(c, "newer-than"); err != nil {
		return q, err
	}
	if q.limit = c.Int("limit"); q.limit < 0 {
		return q, exit.Usagef(c, "flag --limit: want 0 or more, got %d", q.limit)
	}
	return q, nil
}

// ago is the time that a flag gives as an age; zero if the flag is not set.
func ago(c *cli.Context, flag string) (time.Time, error) {
	value := c.String(flag)
	if value == "" {
		return time.Time{}, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return time.Time{}, exit.Usagef(c, "flag --%s: want a time such as 30m or 72h, got %q", flag, value)
	}
	return time.Now().Add(-d), nil
}

// deadSources are the sources of a query, opened.
type deadSources struct {
	*session
	sources []dead.Source
}

// openDead connects to the sources of a query. Only a list of dead letters does not need the table.
func openDead(ctx context.Context, s *session, q *deadQuery, needsTable bool) (*deadSources, error) {
	d := &deadSources{session: s}
	if needsTable || q.parked {
		if err := s.dialPostgres(ctx); err != nil {
			return nil, err
		}
	}
	if q.parked {
		parked, err := dead.In(s.table).OpenParked(ctx, s.pool)
		if err != nil {
			return nil, err
		}
		d.sources = append(d.sources, parked)
	}
	if !q.deadLetters {
		return d, nil
	}
	letters, err := openDeadLetters(ctx, s)
	if q.parked && exit.IsUnreached(err) {
		return nil, fmt.Errorf("read dead letters (--source parked requires only the database): %w", err)
	}
	if err != nil {
		return nil, err
	}
	d.sources = append(d.sources, letters)
	return d, nil
}

// openDeadLetters connects to NATS and opens the dead-letter stream.
func openDeadLetters(ctx context.Context, s *session) (*dead.Letters, error) {
	if err := s.dialNATS(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := dial.Within(ctx)
	defer cancel()
	letters, err := dead.OpenLetters(ctx, s.js, s.set.Text("stream"), s.set.Text("invalidate.dead_stream"))
	if err != nil {
		return nil, exit.Unreached(exit.NATS, err)
	}
	return letters, nil
}
