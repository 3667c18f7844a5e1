package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// A pauseTarget is what outbox pause and outbox resume apply to. All names are checked, in NATS too, before anything is
// written, so that a mistyped name changes nothing. Then the rows in the table are written, then the consumers changed.
type pauseTarget struct {
	*session
	rows      []string // targets in the table outbox.pause
	consumers []string // those of them that are consumers
	stream    string
}

// pauseFlags choose the target of a pause or a resume, and name its author.
func pauseFlags(more ...cli.Flag) []cli.Flag {
	flags := append(setting.Flags(""),
		&cli.BoolFlag{Name: "relay", Usage: "the relay, whichever leads"},
		&cli.StringSliceFlag{Name: "consumer", Usage: "consumer `NAME` of the stream, as in outbox status; may be given more than once"},
		&cli.BoolFlag{Name: "consumers", Usage: "all consumers of the stream that invalidators created"},
		&cli.StringFlag{Name: "job", Usage: "`ID` of a replay or backfill"},
		&cli.StringFlag{Name: "author", Usage: "`NAME` of the person who decides (default: $USER)"},
	)
	return append(append(flags, more...), term.OutputFlag())
}

// openPause reads the flags and connects to the servers that they need.
func openPause(ctx context.Context, s *session) (*pauseTarget, error) {
	p := &pauseTarget{session: s, stream: s.set.Text("stream"), consumers: s.c.StringSlice("consumer")}
	if s.c.Bool("relay") {
		p.rows = append(p.rows, table.PauseRelay)
	}
	if text := s.c.String("job"); text != "" {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, exit.Usagef(s.c, "flag --job: want a UUID, got %q", text)
		}
		p.rows = append(p.rows, table.PauseJob(id))
	}
	if len(p.rows)+len(p.consumers) == 0 && !s.c.Bool("consumers") {
		return nil, exit.Usagef(s.c, "missing target; want --relay, --consumer NAME, --consumers or --job ID")
	}
	if err := s.dialPostgres(ctx); err != nil {
		return nil, err
	}
	if len(p.consumers) == 0 && !s.c.Bool("consumers") {
		return p, nil
	}
	if err := s.dialNATS(ctx); err != nil {
		return nil, fmt.Errorf("nothing was changed (--relay and --job require only the database): %w", err)
	}
	if err := p.findConsumers(ctx); err != nil {
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	return p, nil
}

// findConsumers completes and checks the names.
func (p *pauseTarget) findConsumers(ctx context.Context) error {
	ctx, cancel := dial.Within(ctx)
	defer cancel()
	if p.c.Bool("consumers") {
		all, err := invalidate.Consumers(ctx, p.js, p.stream)
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("want consumers that invalidators created, stream %s has none; run: outbox status", p.stream)
		}
		if err != nil {
			return err
		}
		p.consumers = append(p.consumers, all...)
	}
	slices.Sort(p.consumers)
	p.consumers = slices.Compact(p.consumers)
	for _, name := range p.consumers {
		_, err := p.js.Consumer(ctx, p.stream, name)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			return fmt.Errorf("stream %s has no consumer %s; run: outbox status", p.stream, name)
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return fmt.Errorf("stream %s (--stream) does not exist; run: outbox status", p.stream)
		case err != nil:
			return exit.Unreached(exit.NATS, fmt.Errorf("read consumer %s: %w", name, err))
		}
		p.rows = append(p.rows, table.PauseConsumer+name)
	}
	return nil
}

// changeConsumers calls change for each consumer. Its error names those for which that failed; their rows in the table
// are written all the same. state is what the rows then record: paused, resumed.
func (p *pauseTarget) changeConsumers(ctx context.Context, state string, change func(ctx context.Context, name string) error) error {
	var failed []string
	var last error
	for _, name := range p.consumers {
		ctx, cancel := dial.Within(ctx)
		if err := change(ctx, name); err != nil {
			failed, last = append(failed, name), err
		}
		cancel()
	}
	if last == nil {
		return nil
	}
	return exit.Unreached(exit.NATS, fmt.Errorf("the database records the consumers as %s, but NATS did not change %s; run the command again: %w",
		state, strings.Join(failed, ", "), last))
}

// author is who decides. Empty leaves it to the database, which records the role.
func author(c *cli.Context) string {
	return cmp.Or(c.String("author"), os.Getenv("USER"))
}
