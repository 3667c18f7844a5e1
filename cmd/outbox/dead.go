package main

import (
	"context"
	"fmt"
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
		Name: "dead", Usage: "look at the events that wait for a person, replay or drop them", UsageText: "outbox dead <list|show|replay|drop> [flags]",
		Description: `Events wait in two places. Parked ones are those that the stream refuses for ever: too large, of a subject that it does
not cover. Letters are those that a consumer can never work off: an event lacks what a rule needs; they are in the
dead-letter stream. Mend the cause first, then replay; what cannot be mended is dropped.

Examples:
  outbox dead list
  outbox dead show --place letters --number 17
  outbox dead replay --reason too_large --dry-run
  outbox dead drop --event-id 4b6d9a3e-8a0f-4d8b-9a53-6a1d2a9c7f10 --yes`,
		Subcommands: []*cli.Command{deadListCommand(), deadShowCommand(), deadReplayCommand(), deadDropCommand()},
	}
}

// deadFlags are the flags that choose events.
func deadFlags(limit int, more ...cli.Flag) []cli.Flag {
	flags := append(setting.Flags("invalidate", "dead-stream"),
		&cli.StringFlag{Name: "place", Value: "all", Usage: "`PLACE` where they wait: parked, letters or all"},
		&cli.Int64Flag{Name: "number", Usage: "`N` of one event in its place, as list shows it in the column ID"},
		&cli.StringFlag{Name: "event-id", Usage: "`UUID` of one event"},
		&cli.StringFlag{Name: "reason", Usage: "`TEXT` that is the reason, or a part of its detail"},
		&cli.StringFlag{Name: "subject", Usage: "`PATTERN` of the subject, with * and > as in NATS"},
		&cli.StringFlag{Name: "older-than", Usage: "set aside longer ago than this `TIME`"},
		&cli.StringFlag{Name: "newer-than", Usage: "set aside not longer ago than this `TIME`"},
		&cli.IntFlag{Name: "limit", Value: limit, Usage: "`N` events at most; 0: all"})
	return append(append(flags, more...), term.OutputFlag())
}

// A deadQuery is what the flags choose.
type deadQuery struct {
	filter          dead.Filter
	parked, letters bool
	limit           int
}

func readDeadQuery(c *cli.Context) (q deadQuery, err error) {
	place := c.String("place")
	if err := setting.OneOf("all", dead.SourceParked, dead.SourceLetters)(place); err != nil {
		return q, exit.Usagef(c, "flag --place %q: %w", place, err)
	}
	q.parked, q.letters = place != dead.SourceLetters, place != dead.SourceParked
	if q.filter.Number = c.Int64("number"); c.IsSet("number") && (q.filter.Number < 1 || place == "all") {
		return q, exit.Usagef(c, "flag --number %d: want a number above 0, with --place parked or --place letters", q.filter.Number)
	}
	if id := c.String("event-id"); id != "" {
		if q.filter.EventID, err = uuid.Parse(id); err != nil {
			return q, exit.Usagef(c, "flag --event-id %q: %w", id, err)
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
		return q, exit.Usagef(c, "flag --limit %d: want 0 or more", q.limit)
	}
	return q, nil
}

// ago is the time so long before now; zero when the flag is not set.
func ago(c *cli.Context, flag string) (time.Time, error) {
	value := c.String(flag)
	if value == "" {
		return time.Time{}, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return time.Time{}, exit.Usagef(c, "flag --%s %q: want a time such as 30m or 72h", flag, value)
	}
	return time.Now().Add(-d), nil
}

// deadPlaces are the places of a query, opened.
type deadPlaces struct {
	*session
	places []dead.Source
}

// openDead connects to the places of a query. Only a list of letters does not need the table.
func openDead(ctx context.Context, s *session, q *deadQuery, needsTable bool) (*deadPlaces, error) {
	d := &deadPlaces{session: s}
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
		d.places = append(d.places, parked)
	}
	if !q.letters {
		return d, nil
	}
	letters, err := openLetters(ctx, s)
	if q.parked && exit.IsUnreached(err) {
		return nil, fmt.Errorf("read dead letters (--place parked needs the database only): %w", err)
	}
	if err != nil {
		return nil, err
	}
	d.places = append(d.places, letters)
	return d, nil
}

// openLetters connects to NATS and opens the dead-letter stream.
func openLetters(ctx context.Context, s *session) (*dead.Letters, error) {
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
