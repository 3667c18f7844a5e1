package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/metrics"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/probe"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func relayCommand() *cli.Command {
	return &cli.Command{
		Name: "relay", Usage: "publish events from the table to a JetStream stream", UsageText: "outbox relay --stream <name> --subjects <subjects> [flags]",
		Description: `Publishes every committed event, in order and once. Any number of relays may run: one leads, the others stand by. While a
server is not available, the relay retries.

SIGTERM or SIGINT stops it: it finishes the events in flight within --grace and exits with 0. A second signal ends it at
once with 1. Its settings may be in the section relay of the settings file.

Examples:
  outbox relay --stream OUTBOX --subjects 'users.>,orders.>' --listen :9464
  outbox relay --config /etc/outbox.yaml --log-format json`,
		Flags:  setting.Flags("relay"),
		Action: action("relay", runRelay),
	}
}

func relayConfig(set *setting.Set) relay.Config {
	return relay.Config{
		Schema: set.Text("schema"), Stream: set.Text("stream"), Subjects: set.List("relay.subjects"), Name: set.Text("relay.name"),
		Shared: !set.On("relay.chain"), Replicas: set.Number("relay.replicas"), MaxAge: set.Duration("relay.max_age"),
		NoCreate: set.On("relay.no_create"), OnRecreate: relay.RecreatePolicy(set.Text("relay.on_recreate")),
		OnRemoved: relay.RemovedPolicy(set.Text("relay.on_removed")), OnRefuse: relay.RefusedPolicy(set.Text("relay.on_refuse")),
		Retention:    offIfZero(set.Days("relay.retention")),
		VerifyEvents: offIfZero(set.Number("relay.verify")),
		BatchEvents:  set.Number("relay.batch"), WindowEvents: set.Number("relay.window"), AckWait: set.Duration("relay.ack_wait"), Grace: set.Duration("relay.grace"),
	}
}

// offIfZero turns a setting whose 0 means off into a field whose 0 means the default and whose negative values mean
// off.
func offIfZero[N int | int64 | time.Duration](n N) N {
	if n == 0 {
		return -1
	}
	return n
}

func runRelay(ctx context.Context, s *session) error {
	if err := s.keepPostgres(ctx); err != nil {
		return err
	}
	if err := s.keepNATS(strings.TrimSpace("outbox relay " + s.set.Text("relay.name"))); err != nil {
		return err
	}
	config := relayConfig(s.set)
	config.Logger = s.set.Log
	r, err := relay.New(s.pool, s.nc, config)
	if err != nil {
		return exit.Usagef(nil, "%w", err)
	}
	status := func(ctx context.Context) (table.Status, error) { return s.table.Status(ctx, s.pool, config.Stream) }
	probes, err := probe.Serve(ctx, s.set.Text("relay.listen"), relayReady(r, s), append(metrics.Relay(r.Stats, status), buildInfo()), s.set.Log)
	if err != nil {
		return err
	}
	defer logStop(ctx, s.set.Log, config.Grace)()
	return errors.Join(r.Run(ctx), probes.Close())
}

// logStop logs the end of ctx, for a person who waits for the process. The caller calls what it returns.
func logStop(ctx context.Context, log *slog.Logger, grace time.Duration) (forget func() bool) {
	return context.AfterFunc(ctx, func() {
		log.Info("stopping, finishing work in hand; a second signal ends the process at once", "grace", grace.String())
	})
}

// relayReady checks what a relay needs. A standby is ready without the stream: only the leader reads it.
func relayReady(r *relay.Relay, s *session) func(context.Context) probe.Readiness {
	return func(ctx context.Context) probe.Readiness {
		stats := r.Stats()
		checks := map[string]string{"database": probe.Error(s.pool.Ping(ctx)), "nats": probe.NATS(s.nc), "stream": probe.OK + ", checked by the leader"}
		role := "standby"
		if stats.Leads {
			role = "leader"
			checks["stream"] = probe.OK
			switch {
			case stats.Paused:
				checks["stream"] = probe.OK + ", paused: " + redact.Text(stats.PausedFor)
			case !stats.Connected:
				checks["stream"] = "its end has not been read yet: " + redact.Text(stats.LastError)
			}
		}
		return probe.Of(role, checks)
	}
}
