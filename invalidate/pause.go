package invalidate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	pauseLook  = 2 * time.Second      // how often the server is asked whether a person paused a consumer
	familyMark = "outbox-invalidator" // in the metadata of every consumer of ours: the one of its family that deletes at once
)

// Consumers are the consumers of a stream that invalidators made, by name, whatever family they are of.
func Consumers(ctx context.Context, js jetstream.JetStream, stream string) ([]string, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", stream, err)
	}
	var names []string
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		if info.Config.Metadata[familyMark] != "" {
			names = append(names, info.Name)
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", stream, err)
	}
	slices.Sort(names)
	return names, nil
}

// watchPauses tells, until ctx ends, which consumers a person paused: NATS delivers nothing then, which is no error.
func (v *Invalidator) watchPauses(ctx context.Context) {
	watched := slices.Clone(v.lanes)
	for _, a := range v.audits {
		watched = append(watched, a.lane)
	}
	for ctx.Err() == nil {
		for _, l := range watched {
			l.lookPaused(ctx)
		}
		_ = wait(ctx, pauseLook)
	}
}

// lookPaused notes until when the consumer of the lane is paused. What cannot be found out stays as it was.
func (l *lane) lookPaused(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	cons, err := l.js.Consumer(ctx, l.cfg.Stream, l.durable)
	if err != nil {
		return // the lane tells of every outage
	}
	var until time.Time
	if info := cons.CachedInfo(); info.Paused && info.Config.PauseUntil != nil {
		until = *info.Config.PauseUntil
	}
	was := l.stats.snapshot().PausedUntil
	l.stats.update(func(s *Lane) { s.PausedUntil = until })
	switch {
	case !until.IsZero() && !until.Equal(was):
		l.log.Warn("paused by a person: nothing is delivered until outbox resume --consumer "+l.durable, "until", until)
	case until.IsZero() && !was.IsZero():
		l.log.Info("going on: no longer paused")
	}
}
