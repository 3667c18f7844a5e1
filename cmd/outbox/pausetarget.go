package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// A pauseTarget is what outbox pause and outbox resume are about. The row in the table comes first, then NATS is told, which has to
// answer before anything is written: who mistypes a name changes nothing.
type pauseTarget struct {
	rows      []string // targets of outbox.pause
	consumers []string // of these, the consumers
	stream    string

	table *table.Table
	pool  *pgxpool.Pool
	nc    *nats.Conn // nil without consumers
	js    jetstream.JetStream
}

// pauseFlags are those that say what is paused or resumed, and by whom.
func pauseFlags(more ...cli.Flag) []cli.Flag {
	flags := append(settingFlags(""),
		&cli.BoolFlag{Name: "relay", Usage: "the relay, whichever leads"},
		&cli.StringSliceFlag{Name: "consumer", Usage: "consumer `NAME` of the stream, as in outbox status; may be given more than once"},
		&cli.BoolFlag{Name: "consumers", Usage: "all consumers of the stream that invalidators made"},
		&cli.StringFlag{Name: "job", Usage: "`ID` of a replay or backfill"},
		&cli.StringFlag{Name: "author", Usage: "`NAME` of who decides (default: $USER)"},
	)
	return append(append(flags, more...), outputFlag())
}

// openPause reads the flags, and connects to what they need.
func openPause(c *cli.Context, s settings) (p *pauseTarget, err error) {
	p = &pauseTarget{stream: s.text("stream"), consumers: c.StringSlice("consumer")}
	if c.Bool("relay") {
		p.rows = append(p.rows, table.PauseRelay)
	}
	if text := c.String("job"); text != "" {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, usagef(c, "flag --job %q: %w", text, err)
		}
		p.rows = append(p.rows, table.PauseJob(id))
	}
	if len(p.rows)+len(p.consumers) == 0 && !c.Bool("consumers") {
		return nil, usagef(c, "a target is missing: --relay, --consumer NAME, --consumers or --job ID")
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.table, p.pool, err = connectTable(c, s); err != nil {
		return p, err
	}
	if len(p.consumers) > 0 || c.Bool("consumers") {
		if p.nc, p.js, err = dialNATS(s, c.Command.HelpName); err != nil {
			return p, fmt.Errorf("nothing was changed (--relay and --job need the database only): %w", err)
		}
		if err = p.findConsumers(c); err != nil {
			return p, err
		}
	}
	return p, nil
}

// findConsumers completes and checks the names.
func (p *pauseTarget) findConsumers(c *cli.Context) error {
	ctx, cancel := within(c.Context)
	defer cancel()
	if c.Bool("consumers") {
		all, err := invalidate.Consumers(ctx, p.js, p.stream)
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("stream %s has no consumers that invalidators made; see: outbox status", p.stream)
		}
		if err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
		p.consumers = append(p.consumers, all...)
	}
	slices.Sort(p.consumers)
	p.consumers = slices.Compact(p.consumers)
	for _, name := range p.consumers {
		_, err := p.js.Consumer(ctx, p.stream, name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return fmt.Errorf("nothing was changed: stream %s has no consumer %s; see: outbox status", p.stream, name)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("nothing was changed: there is no stream %s (--stream); see: outbox status", p.stream)
		}
		if err != nil {
			return fmt.Errorf("nothing was changed: %w", &serverError{natsServer, fmt.Errorf("look up consumer %s: %w", name, err)})
		}
		p.rows = append(p.rows, table.PauseConsumer+name)
	}
	return nil
}

func (p *pauseTarget) close() {
	if p.pool != nil {
		p.pool.Close()
	}
	if p.nc != nil {
		p.nc.Close()
	}
}

// tellNATS does something to each consumer, and says of those that it failed for that the row is written all the same.
func (p *pauseTarget) tellNATS(ctx context.Context, verb string, do func(ctx context.Context, name string) error) error {
	var failed []string
	var last error
	for _, name := range p.consumers {
		ctx, cancel := within(ctx)
		if err := do(ctx, name); err != nil {
			failed, last = append(failed, name), err
		}
		cancel()
	}
	if last == nil {
		return nil
	}
	return &serverError{natsServer, fmt.Errorf("it is written in the database that they are to %s, but NATS was not told of %s; run the command again: %w",
		verb, strings.Join(failed, ", "), last)}
}

// author is who decides; empty leaves it to the database, which knows the role.
func author(c *cli.Context) string {
	return or(c.String("author"), os.Getenv("USER"))
}
