package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// readStream reads from the stream what a query needs of it, if it needs anything: the position of a consumer, and
// whether the stream takes the copies.
func readStream(ctx context.Context, s *session, q *jobs.ReplayQuery) error {
	consumer := s.c.String("after-consumer")
	if consumer == "" && q.Prefix == "" {
		return nil
	}
	if err := s.dialNATS(ctx); err != nil {
		return fmt.Errorf("read the stream (only --after-consumer and --to-prefix require NATS): %w", err)
	}
	bounded, cancel := dial.Within(ctx)
	defer cancel()
	name := s.set.Text("stream")
	source, err := s.js.Stream(bounded, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("stream %s does not exist; outbox relay creates it, --stream names another", name)
	}
	if err != nil {
		return exit.Unreached(exit.NATS, fmt.Errorf("read stream %s: %w", name, err))
	}
	if consumer != "" {
		if q.FromPosition, err = afterConsumer(bounded, s, source, consumer); err != nil {
			return err
		}
	}
	if q.Prefix == "" {
		return nil
	}
	return checkCovered(ctx, s, &source.CachedInfo().Config, q)
}

// afterConsumer is the position after the last event that a consumer has acknowledged, together with everything before
// it. The message at its ack floor has the position; if it is gone, the log of bases does.
func afterConsumer(ctx context.Context, s *session, source jetstream.Stream, name string) (int64, error) {
	info := source.CachedInfo()
	consumer, err := source.Consumer(ctx, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrInvalidConsumerName) {
		return 0, fmt.Errorf("stream %s has no consumer %s; to list its consumers, run: outbox status; --since requires none", info.Config.Name, name)
	}
	if err != nil {
		return 0, exit.Unreached(exit.NATS, fmt.Errorf("read consumer %s: %w", name, err))
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
		return 0, exit.Unreached(exit.NATS, fmt.Errorf("read message %d of stream %s: %w", floor, info.Config.Name, err))
	}
	bases, err := s.table.Bases(ctx, s.pool)
	if err != nil {
		return 0, err
	}
	position, known := stream.BaseLog{Stream: table.Stream{Name: info.Config.Name, Created: info.Created}, All: bases}.LastPosition(floor)
	if !known {
		return 0, fmt.Errorf("consumer %s has acknowledged up to sequence %d of stream %s, and the event at that sequence is unknown; use --since instead", name, floor, info.Config.Name)
	}
	return position + 1, nil
}

// checkCovered returns an error if the stream does not cover the subjects of the copies, which the relay would have to
// park. It first compares the patterns of the filter, and reads the subjects of the events only if the stream does not
// cover these.
func checkCovered(ctx context.Context, s *session, config *jetstream.StreamConfig, q *jobs.ReplayQuery) error {
	patterns := q.Subjects
	if len(patterns) == 0 {
		patterns = []string{">"}
	}
	missing := uncovered(config.Subjects, q.Prefix, patterns)
	if len(missing) == 0 {
		return nil
	}
	look, err := jobs.In(s.table).PreviewReplay(ctx, s.pool, q, func(int64, int64, int64) {})
	if err != nil {
		return explainReplay(err)
	}
	var subjects []string
	for subject := range look.Subjects {
		if subject == "" { // more than the query returns
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
	return fmt.Errorf("stream %s does not cover %s, so the relay would park the copies; nothing was changed; run: nats stream edit %s --subjects '%s'",
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
