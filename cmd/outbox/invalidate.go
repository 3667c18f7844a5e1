package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

func invalidateCommand() *cli.Command {
	return &cli.Command{
		Name: "invalidate", Usage: "delete from Redis what the events of a stream make stale", UsageText: "outbox invalidate --stream <name> --rules <file> [flags]",
		Description: `Consumes the stream until SIGTERM or SIGINT and deletes the keys that the rules name; an event is acknowledged when
its keys are gone, and deletes them once more after --echo, for readers that read the old row before the change.
Any number may run, each event goes to one of them. SIGHUP reads the rules again. With --explain it prints what one
event would delete, and needs no server. Settings can be in the section invalidate of the file.

Examples:
  outbox invalidate --stream OUTBOX --rules rules.yaml --listen :9465
  outbox invalidate --rules rules.yaml --explain --subject users.42.updated --payload '{"team":7}' -o json`,
		Flags: append(settingFlags("invalidate"),
			&cli.BoolFlag{Name: "explain", Usage: "print what one event would delete"},
			&cli.StringFlag{Name: "subject", Usage: "with --explain: `SUBJECT` of the event (required)"},
			&cli.StringFlag{Name: "payload", Usage: "with --explain: `JSON` of the event"},
			&cli.StringFlag{Name: "key", Usage: "with --explain: `KEY` of the event"},
			&cli.StringFlag{Name: "op", Usage: "with --explain: `OPERATION` that a capture trigger noted: insert, update or delete"},
			outputFlag()),
		Action: withSettings("invalidate", func(c *cli.Context, s settings) error {
			if c.Bool("explain") {
				return explain(c, s)
			}
			for _, name := range []string{"subject", "payload", "key", "op", "output"} {
				if c.IsSet(name) {
					return usagef(c, "flag --%s goes with --explain", name)
				}
			}
			return runInvalidator(c, s)
		}),
	}
}

func readRules(s settings) (*rules.Set, error) {
	path := s.text("invalidate.rules")
	if path == "" {
		return nil, usagef(nil, "--rules missing")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef(nil, "read rules: %w", err)
	}
	set, err := rules.Parse(path, data)
	if err != nil {
		return nil, usagef(nil, "%w", err)
	}
	return set, nil
}

func runInvalidator(c *cli.Context, s settings) (err error) {
	set, err := readRules(s)
	if err != nil {
		return err
	}
	log := newLogger(c, s)
	rdb, err := openRedis(s, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rdb.Close()) }()
	nc, js, err := keepNATS(s, "outbox invalidate "+s.text("invalidate.durable"), log)
	if err != nil {
		return err
	}
	defer nc.Close()
	cfg := invalidatorConfig(s, set)
	cfg.Logger = log
	gate, err := openGate(c, s, log)
	if err != nil {
		return err
	}
	if gate != nil {
		defer gate.close()
		cfg.EchoGate = gate.replicas
	}
	v, err := invalidate.New(js, rdb, cfg)
	if err != nil {
		return usagef(nil, "%w", err)
	}
	reloads := newReloads()
	defer reloads.onHangup(c.Context, s, v, log)()
	probes, err := serveProbes(c.Context, s.text("invalidate.listen"), invalidatorReady(v, nc, rdb), append(invalidatorMetrics(v.Stats), reloads.done, reloads.refused), log)
	if err != nil {
		return err
	}
	defer announceStop(c.Context, log, s.duration("invalidate.grace"))()
	return errors.Join(v.Run(c.Context), probes.close())
}

func invalidatorConfig(s settings, set *rules.Set) invalidate.Config {
	return invalidate.Config{
		Stream: s.text("stream"), Durable: s.text("invalidate.durable"), Rules: set, Echo: s.durations("invalidate.echo"),
		TagRate: orNegative(s.number("invalidate.tag_rate")), RedeliveryWindow: orNegative(s.duration("invalidate.replay_window")),
		Staleness: s.durations("invalidate.audit"), StalenessSample: s.share("invalidate.audit_sample"),
		Batch: s.number("invalidate.batch"), DeadStream: s.text("invalidate.dead_stream"),
		Replicas: s.number("invalidate.replicas"), AckWait: s.duration("invalidate.ack_wait"), Grace: s.duration("invalidate.grace"),
	}
}

// orNegative is a setting whose 0 means off, for a field whose 0 means the default.
func orNegative[N int | time.Duration](n N) N {
	if n == 0 {
		return -1
	}
	return n
}

func invalidatorReady(v *invalidate.Invalidator, nc *nats.Conn, rdb redis.UniversalClient) func(context.Context) readiness {
	return func(ctx context.Context) readiness {
		checks := map[string]string{"nats": natsState(nc), "redis": okOr(rdb.Ping(ctx).Err()), "work": stateOK}
		stats := v.Stats()
		for _, lane := range append([]invalidate.ConsumerStats{stats.ConsumerStats}, stats.Echoes...) {
			if lane.Paused {
				checks["work"] = "paused until Redis answers"
			}
			if !lane.PausedUntil.IsZero() {
				checks[lane.Consumer] = stateOK + ", paused by a person until " + lane.PausedUntil.Format(time.RFC3339)
			}
		}
		return judge("", checks)
	}
}
