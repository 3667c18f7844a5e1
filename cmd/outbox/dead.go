package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
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
	flags := append(settingFlags("invalidate", "dead-stream"),
		&cli.StringFlag{Name: "place", Value: "all", Usage: "`PLACE` where they wait: parked, letters or all"},
		&cli.Int64Flag{Name: "number", Usage: "`N` of one event in its place, as list shows it in the column ID"},
		&cli.StringFlag{Name: "event-id", Usage: "`UUID` of one event"},
		&cli.StringFlag{Name: "reason", Usage: "`TEXT` that is the reason, or a part of its detail"},
		&cli.StringFlag{Name: "subject", Usage: "`PATTERN` of the subject, with * and > as in NATS"},
		&cli.StringFlag{Name: "older-than", Usage: "set aside longer ago than this `TIME`"},
		&cli.StringFlag{Name: "newer-than", Usage: "set aside not longer ago than this `TIME`"},
		&cli.IntFlag{Name: "limit", Value: limit, Usage: "`N` events at most; 0: all"})
	return append(append(flags, more...), outputFlag())
}

// A deadQuery is what the flags choose.
type deadQuery struct {
	filter          dead.Filter
	parked, letters bool
	limit           int
	asJSON          bool
}

func readDeadQuery(c *cli.Context) (q deadQuery, err error) {
	if q.asJSON, err = wantsJSON(c); err != nil {
		return q, err
	}
	place := c.String("place")
	if err := oneOf("all", dead.SourceParked, dead.SourceDeadLetters)(place); err != nil {
		return q, usagef(c, "flag --place %q: %w", place, err)
	}
	q.parked, q.letters = place != dead.SourceDeadLetters, place != dead.SourceParked
	if q.filter.Number = c.Int64("number"); c.IsSet("number") && (q.filter.Number < 1 || place == "all") {
		return q, usagef(c, "flag --number %d: want a number above 0, with --place parked or --place letters", q.filter.Number)
	}
	if id := c.String("event-id"); id != "" {
		if q.filter.EventID, err = uuid.Parse(id); err != nil {
			return q, usagef(c, "flag --event-id %q: %w", id, err)
		}
	}
	q.filter.Reason = c.String("reason")
	if pattern := c.String("subject"); pattern != "" {
		if q.filter.Subject, err = event.SubjectPattern(pattern); err != nil {
			return q, usagef(c, "flag --subject: %w", err)
		}
	}
	if q.filter.Until, err = ago(c, "older-than"); err != nil {
		return q, err
	}
	if q.filter.From, err = ago(c, "newer-than"); err != nil {
		return q, err
	}
	if q.limit = c.Int("limit"); q.limit < 0 {
		return q, usagef(c, "flag --limit %d: want 0 or more", q.limit)
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
		return time.Time{}, usagef(c, "flag --%s %q: want a time such as 30m or 72h", flag, value)
	}
	return time.Now().Add(-d), nil
}

// deadPlaces are the places of a query, opened, and what they are read with.
type deadPlaces struct {
	table  *table.Table
	pool   *pgxpool.Pool // nil when the table is not needed
	nc     *nats.Conn    // nil when no letters are wanted
	places []dead.Source
}

// openDead opens the places of a query. The table is needed by all but a list of letters.
func openDead(c *cli.Context, s settings, q *deadQuery, needsTable bool) (*deadPlaces, error) {
	d := &deadPlaces{}
	err := d.open(c, s, q, needsTable || q.parked)
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *deadPlaces) open(c *cli.Context, s settings, q *deadQuery, needsTable bool) (err error) {
	if needsTable {
		if d.table, d.pool, err = connectTable(c, s); err != nil {
			return err
		}
	}
	if q.parked {
		parked, err := dead.In(d.table).OpenParked(c.Context, d.pool)
		if err != nil {
			return err
		}
		d.places = append(d.places, parked)
	}
	if !q.letters {
		return nil
	}
	letters, err := d.openLetters(c, s)
	if _, away := errors.AsType[*serverError](err); away && q.parked {
		return fmt.Errorf("read dead letters (--place parked needs the database only): %w", err)
	}
	if err != nil {
		return err
	}
	d.places = append(d.places, letters)
	return nil
}

func (d *deadPlaces) openLetters(c *cli.Context, s settings) (*dead.Letters, error) {
	nc, js, err := dialNATS(s, c.Command.HelpName)
	if err != nil {
		return nil, err
	}
	d.nc = nc
	ctx, cancel := within(c.Context)
	defer cancel()
	letters, err := dead.OpenLetters(ctx, js, s.text("stream"), s.text("invalidate.dead_stream"))
	if err != nil {
		return nil, &serverError{natsServer, err}
	}
	return letters, nil
}

func (d *deadPlaces) close() {
	if d.pool != nil {
		d.pool.Close()
	}
	if d.nc != nil {
		d.nc.Close()
	}
}

// blame says of an error that NATS went away, if it did.
func (d *deadPlaces) blame(err error) error {
	if err != nil && d.nc != nil && !d.nc.IsConnected() && !errors.Is(err, context.Canceled) {
		return &serverError{natsServer, err}
	}
	return err
}
