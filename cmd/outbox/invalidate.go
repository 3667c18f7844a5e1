package main

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/metrics"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/probe"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/invalidate/replicas"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

func invalidateCommand() *cli.Command {
	return &cli.Command{
		Name: "invalidate", Usage: "delete from Redis the keys that events make stale", UsageText: "outbox invalidate --stream <name> --rules <file> [flags]",
		Description: `Consumes the stream and deletes the keys that the rules name. It acknowledges an event once its keys are deleted, and
deletes them again after --echo, because a reader may have read the old row before the change and filled the cache after
the first delete. Any number of invalidators may run; each event goes to one of them.

SIGHUP reloads the rules. SIGTERM or SIGINT stops it: it finishes the events in hand within --grace and exits with 0; a
second signal ends it at once with 1. With --explain it prints what one event would delete, and connects to no server.
Its settings may be in the section invalidate of the settings file.

Examples:
  outbox invalidate --stream OUTBOX --rules rules.yaml --listen :9465
  outbox invalidate --rules rules.yaml --explain --subject users.42.updated --payload '{"team":7}' -o json`,
		Flags: append(setting.Flags("invalidate"),
			&cli.BoolFlag{Name: "explain", Usage: "print what one event would delete"},
			&cli.StringFlag{Name: "subject", Usage: "with --explain: `SUBJECT` of the event (required)"},
			&cli.StringFlag{Name: "payload", Usage: "with --explain: `JSON` of the event"},
			&cli.StringFlag{Name: "key", Usage: "with --explain: `KEY` of the event"},
			&cli.StringFlag{Name: "op", Usage: "with --explain: `OPERATION` of the capture trigger: insert, update or delete"},
			term.OutputFlag()),
		Action: action("invalidate", func(ctx context.Context, s *session) error {
			if s.c.Bool("explain") {
				return explain(ctx, s)
			}
			for _, name := range []string{"subject", "payload", "key", "op", "output"} {
				if s.c.IsSet(name) {
					return exit.Usagef(s.c, "flag --%s requires --explain", name)
				}
			}
			return runInvalidator(ctx, s)
		}),
	}
}

// readRules reads the rules of the settings. A mistake in them is a usage error.
func readRules(set *setting.Set) (*rules.Set, error) {
	parsed, err := parseRules(set)
	if err != nil {
		return nil, exit.Usagef(nil, "%w", err)
	}
	return parsed, nil
}

func runInvalidator(ctx context.Context, s *session) error {
	parsed, err := readRules(s.set)
	if err != nil {
		return err
	}
	if err := s.keepRedis(); err != nil {
		return err
	}
	if err := s.keepNATS("outbox invalidate " + s.set.Text("invalidate.durable")); err != nil {
		return err
	}
	config := invalidatorConfig(s.set, parsed)
	config.Logger = s.set.Log
	watch, stop, err := watchReplicas(ctx, s)
	if err != nil {
		return err
	}
	defer stop()
	if watch != nil {
		config.EchoGate = watch
	}
	v, err := invalidate.New(s.js, s.redis, config)
	if err != nil {
		return exit.Usagef(nil, "%w", err)
	}
	reloads := newReloads()
	defer reloads.onHangup(ctx, s.set, v)()
	probes, err := probe.Serve(ctx, s.set.Text("invalidate.listen"), invalidatorReady(v, s), append(metrics.Invalidator(v.Stats), reloads.done, reloads.refused, buildInfo()), s.set.Log)
	if err != nil {
		return err
	}
	defer logStop(ctx, s.set.Log, config.Grace)()
	return errors.Join(v.Run(ctx), probes.Close())
}

func invalidatorConfig(set *setting.Set, parsed *rules.Set) invalidate.Config {
	return invalidate.Config{
		Stream: set.Text("stream"), Durable: set.Text("invalidate.durable"), Rules: parsed, Echo: set.Durations("invalidate.echo"),
		TagRate: offIfZero(set.Number("invalidate.tag_rate")), RedeliveryWindow: offIfZero(set.Duration("invalidate.redelivery_window")),
		Staleness: set.Durations("invalidate.staleness"), StalenessSample: set.Share("invalidate.staleness_sample"),
		Batch: set.Number("invalidate.batch"), DeadStream: set.Text("invalidate.dead_stream"),
		Replicas: set.Number("invalidate.replicas"), AckWait: set.Duration("invalidate.ack_wait"), Grace: set.Duration("invalidate.grace"),
	}
}

func invalidatorReady(v *invalidate.Invalidator, s *session) func(context.Context) probe.Readiness {
	return func(ctx context.Context) probe.Readiness {
		checks := map[string]string{"nats": probe.NATS(s.nc), "redis": probe.Error(s.redis.Ping(ctx).Err()), "work": probe.OK}
		stats := v.Stats()
		for _, consumer := range append([]invalidate.ConsumerStats{stats.ConsumerStats}, stats.Echoes...) {
			if consumer.Paused {
				checks["work"] = "paused until Redis answers"
			}
			if !consumer.PausedUntil.IsZero() {
				checks[consumer.Consumer] = probe.OK + ", paused until " + consumer.PausedUntil.Format(time.RFC3339)
			}
		}
		return probe.Of("", checks)
	}
}

// watchReplicas begins to follow the replicas of the database that --echo-replicas names, until stop is called. It
// returns nil replicas if the setting names none; stop is never nil.
func watchReplicas(ctx context.Context, s *session) (watch *replicas.Watch, stop func(), err error) {
	names := s.set.List("invalidate.echo_replicas")
	if len(names) == 0 {
		return nil, func() {}, nil
	}
	if err := s.dialPostgres(ctx); err != nil {
		return nil, nil, err
	}
	watch = replicas.New(s.pool, names...)
	if err := watch.Poll(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := watch.Run(ctx, func(err error) {
			s.set.Log.Warn("replicas not readable, retrying; echoes wait", "err", err)
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			s.set.Log.Error("stopped reading the replicas; each echo waits 30 s", "err", err)
		}
	}()
	return watch, func() { cancel(); <-ended }, nil
}

// reloads counts the reloads of the rules.
type reloads struct{ done, refused prometheus.Counter }

func newReloads() *reloads {
	return &reloads{
		done:    prometheus.NewCounter(prometheus.CounterOpts{Name: "outbox_invalidator_reloads_total", Help: "Times that the rules were reloaded."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "outbox_invalidator_reload_errors_total", Help: "Times that a reload failed and the old rules stayed."}),
	}
}

// onHangup reloads the rules on each SIGHUP until ctx ends. stop waits for a reload that is running.
func (r *reloads) onHangup(ctx context.Context, set *setting.Set, v *invalidate.Invalidator) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, forget := hangups()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				r.reload(ctx, set, v)
			}
		}
	}()
	return func() { cancel(); forget(); <-ended }
}

// reload keeps the old rules if the new ones are invalid.
func (r *reloads) reload(ctx context.Context, set *setting.Set, v *invalidate.Invalidator) {
	parsed, err := readRules(set)
	if err == nil {
		err = v.Reload(ctx, parsed)
	}
	if err != nil {
		r.refused.Inc()
		set.Log.Error("rules not reloaded, keeping the old ones", "err", err)
		return
	}
	r.done.Inc()
	set.Log.Info("rules reloaded", "n", parsed.Len())
}
