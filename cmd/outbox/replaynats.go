package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// askNATS finds out what a query needs to know of the stream, if it needs anything: where a consumer stands, and whether the stream
// takes the copies.
func askNATS(c *cli.Context, s settings, tbl *table.Table, pool *pgxpool.Pool, q *jobs.ReplayQuery) error {
	consumer := c.String("after-consumer")
	if consumer == "" && q.Prefix == "" {
		return nil
	}
	nc, js, err := dialNATS(s, c.Command.HelpName)
	if err != nil {
		return fmt.Errorf("ask for the stream (only --after-consumer and --to-prefix need NATS): %w", err)
	}
	defer nc.Close()
	ctx, cancel := within(c.Context)
	defer cancel()
	name := s.text("stream")
	source, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("stream %s does not exist; outbox relay makes it, --stream names another", name)
	}
	if err != nil {
		return &serverError{natsServer, fmt.Errorf("read stream %s: %w", name, err)}
	}
	if consumer != "" {
		if q.FromPosition, err = behindConsumer(ctx, tbl, pool, source, consumer); err != nil {
			return err
		}
	}
	if q.Prefix == "" {
		return nil
	}
	return covered(c, tbl, pool, &source.CachedInfo().Config, q)
}

// behindConsumer is the position behind everything that a consumer has acknowledged. The message at that place says it, and where it is
// gone, the log of bases.
func behindConsumer(ctx context.Context, tbl *table.Table, db outbox.DB, source jetstream.Stream, name string) (int64, error) {
	info := source.CachedInfo()
	consumer, err := source.Consumer(ctx, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrInvalidConsumerName) {
		return 0, fmt.Errorf("stream %s has no consumer %s; outbox status shows those it has, and --since goes without one", info.Config.Name, name)
	}
	if err != nil {
		return 0, &serverError{natsServer, fmt.Errorf("look up consumer %s: %w", name, err)}
	}
	floor := consumer.CachedInfo().AckFloor.Stream
	if floor == 0 {
		return 1, nil
	}
	msg, err := source.GetMsg(ctx, floor)
	if err == nil {
		if e, err := event.Parse(msg.Subject, msg.Header, nil); err == nil && e.Position > 0 {
			return e.Position + 1, nil
		}
	} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, &serverError{natsServer, fmt.Errorf("read message %d of stream %s: %w", floor, info.Config.Name, err)}
	}
	bases, err := tbl.Bases(ctx, db)
	if err != nil {
		return 0, err
	}
	position, known := stream.BaseLog{Stream: table.Stream{Name: info.Config.Name, Created: info.Created}, All: bases}.LastPosition(floor)
	if !known {
		return 0, fmt.Errorf("consumer %s has acknowledged up to sequence %d of stream %s, and no event is known to lie there; take --since instead", name, floor, info.Config.Name)
	}
	return position + 1, nil
}

// covered refuses copies that the stream would not take: they would be parked. What the filter says is asked first, and only if that
// is too much, which subjects there are.
func covered(c *cli.Context, tbl *table.Table, pool *pgxpool.Pool, config *jetstream.StreamConfig, q *jobs.ReplayQuery) error {
	patterns := q.Subjects
	if len(patterns) == 0 {
		patterns = []string{">"}
	}
	missing := uncovered(config.Subjects, q.Prefix, patterns)
	if len(missing) == 0 {
		return nil
	}
	look, err := jobs.In(tbl).PreviewReplay(c.Context, pool, q, func(int64, int64, int64) {})
	if err != nil {
		return explainReplay(err)
	}
	var subjects []string
	for subject := range look.Subjects {
		if subject == "" { // too many to tell
			subject = ">"
		}
		subjects = append(subjects, subject)
	}
	slices.Sort(subjects)
	found := uncovered(config.Subjects, q.Prefix, subjects)
	if len(found) == 0 {
		return nil
	}
	kept := slices.DeleteFunc(slices.Clone(config.Subjects), func(subject string) bool { return stream.Covered(missing, subject) })
	return fmt.Errorf("stream %s does not cover %s: the copies would be parked, nothing was changed; run: nats stream edit %s --subjects '%s'",
		config.Name, found[0], config.Name, strings.Join(append(kept, missing...), ","))
}

func uncovered(have []string, prefix string, subjects []string) (out []string) {
	for _, subject := range subjects {
		if subject = prefix + "." + subject; !stream.Covered(have, subject) {
			out = append(out, subject)
		}
	}
	return out
}
