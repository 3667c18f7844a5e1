package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/relay"
)

func relayCommand() *cli.Command {
	return &cli.Command{
		Name: "relay", Usage: "publish the outbox to a JetStream stream", UsageText: "outbox relay --stream <name> --subjects <subjects> [flags]",
		Description: `Publishes every committed event, in order and once, until SIGTERM or SIGINT: then it finishes what is in flight
within --grace and ends with 0; a second signal ends it at once with 1. Any number may run, one leads, the others
stand by. It waits for servers that are away. Settings can be in the section relay of the file.

Examples:
  outbox relay --stream OUTBOX --subjects 'users.>,orders.>' --listen :9464
  outbox relay --config /etc/outbox.yaml --log-format json`,
		Flags:  settingFlags("relay"),
		Action: withSettings("relay", runRelay),
	}
}

func relayConfig(s settings) relay.Config {
	return relay.Config{
		Schema: s.text("schema"), Stream: s.text("stream"), Subjects: s.list("relay.subjects"), Name: s.text("relay.name"),
		Shared: !s.on("relay.chain"), Replicas: s.number("relay.replicas"), MaxAge: s.duration("relay.max_age"),
		NoCreate: s.on("relay.no_create"), OnRecreate: relay.RecreatePolicy(s.text("relay.on_recreate")), OnRemoved: relay.RemovedPolicy(s.text("relay.on_removed")), OnRefuse: relay.RefusedPolicy(s.text("relay.on_refuse")),
		Retention:    orEver(s.days("relay.retention")),
		VerifyEvents: orNone(s.number("relay.verify")),
		BatchEvents:  s.number("relay.batch"), WindowEvents: s.number("relay.window"), AckWait: s.duration("relay.ack_wait"), Grace: s.duration("relay.grace"),
	}
}

// orNone makes of 0, which is the default to the library, none.
func orNone(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// orEver makes of 0, which is the default to the library, for ever.
func orEver(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func runRelay(c *cli.Context, s settings) (err error) {
	log := newLogger(c, s)
	table, pool, err := openTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	nc, _, err := keepNATS(s, strings.TrimSpace("outbox relay "+s.text("relay.name")), log)
	if err != nil {
		return err
	}
	defer nc.Close()
	config := relayConfig(s)
	config.Logger = log
	r, err := relay.New(pool, nc, config)
	if err != nil {
		return usagef(nil, "%w", err)
	}
	metrics := relayMetrics(r, table, pool, config.Stream)
	probes, err := serveProbes(c.Context, s.text("relay.listen"), relayReady(r, pool, nc), metrics, log)
	if err != nil {
		return err
	}
	defer announceStop(c.Context, log, config.Grace)()
	return errors.Join(r.Run(c.Context), probes.close())
}

// relayReady looks at what a relay needs. A standby is ready: it waits for the lock of the leader, and looks at the
// stream when it has it.
func relayReady(r *relay.Relay, pool *pgxpool.Pool, nc *nats.Conn) func(context.Context) readiness {
	return func(ctx context.Context) readiness {
		stats := r.Stats()
		checks := map[string]string{"database": okOr(pool.Ping(ctx)), "nats": natsState(nc), "stream": stateOK + ", looked at by the leader"}
		role := "standby"
		if stats.Leads {
			role = "leader"
			checks["stream"] = stateOK
			switch {
			case stats.Paused:
				checks["stream"] = stateOK + ", paused: " + redact(stats.PausedFor)
			case !stats.Connected:
				checks["stream"] = "its end is not known yet: " + redact(stats.LastError)
			}
		}
		return judge(role, checks)
	}
}

func natsState(nc *nats.Conn) string {
	if nc.IsConnected() {
		return stateOK
	}
	return nc.Status().String()
}
