package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/demo"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "show the whole road under load and faults, then count", UsageText: "outbox demo [flags]",
		Description: `Starts PostgreSQL, NATS and Redis, runs pgbench as an application that knows nothing of us, captures, relays and
invalidates what it changes, kills the relay once, stops the broker once, and then holds the whole stream against
the whole table and every cached value against its row. Exits 1 if an event was lost, stored twice or out of order.

A server given by its flag is used instead of starting one, and never stopped; all that is made there has a name of
its own and is removed. Only flags count here: an environment or a file may name servers that want no load.

Examples:
  outbox demo
  outbox demo --duration 15s -o json | jq '.lost, .duplicates, .reordered'
  outbox demo --duration 60s --clients 16 --rate 2000`,
		Flags:  append(demoServers(), demoFlags()...),
		Action: runDemo,
	}
}

func demoFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "duration", Value: 30 * time.Second, Usage: "`TIME` of the load, 6s to 1h"},
		&cli.IntFlag{Name: "clients", Value: 4, Usage: "`N` clients of pgbench, 1 to 100"},
		&cli.IntFlag{Name: "rate", Value: 400, Usage: "`N` transactions a second that pgbench aims at"},
		&cli.IntFlag{Name: "scale", Value: 1, Usage: "`N` times 100,000 accounts, 1 to 100"},
		&cli.IntFlag{Name: "readers", Value: 4, Usage: "`N` readers through the cache, 1 to 64"},
		&cli.DurationFlag{Name: "ttl", Value: time.Hour, Usage: "`TIME` that a cached value lives, at least 1s"},
		&cli.BoolFlag{Name: "insecure", Usage: "allow connections to other machines that are not encrypted, or to servers that are not verified"},
		&cli.BoolFlag{Name: "keep", Usage: "print the report, then let everything run until Ctrl-C"},
		outputFlag(),
	}
}

// demoServers are the flags of the three URLs.
func demoServers() []cli.Flag {
	const category = "Servers to use instead of starting them"
	return []cli.Flag{
		&cli.StringFlag{Name: "database-url", Usage: "`URL` of PostgreSQL: postgres://user@host:port/database", Category: category},
		&cli.StringFlag{Name: "nats-url", Usage: "`URL` of NATS with JetStream: nats://host:port", Category: category},
		&cli.StringFlag{Name: "redis-url", Usage: "`URL` of Redis: redis://host:port/db", Category: category},
	}
}

func runDemo(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if err := checkDemo(c); err != nil {
		return err
	}
	redis.SetLogger(redisLogger{slog.New(slog.DiscardHandler)}) // it would print into the panel
	config := demo.Config{
		PostgresURL: c.String("database-url"), NATSURL: c.String("nats-url"), RedisURL: c.String("redis-url"),
		Duration: c.Duration("duration"), Clients: c.Int("clients"), Rate: c.Int("rate"), Scale: c.Int("scale"),
		Readers: c.Int("readers"), TTL: c.Duration("ttl"), Progress: c.App.ErrWriter, NoColor: os.Getenv("NO_COLOR") != "",
	}
	if err := config.Check(); err != nil {
		return usagef(c, "%w", err)
	}
	if c.Bool("keep") {
		config.Keep = func(ctx context.Context, r *demo.Report, a demo.Addresses) error {
			err := printDemo(c.App.Writer, asJSON, r)
			printAddresses(c.App.ErrWriter, a)
			<-ctx.Done()
			return err
		}
	}
	sayUnused(c)
	report, err := demo.Run(c.Context, config)
	switch {
	case report != nil && err == nil && config.Keep == nil:
		err = printDemo(c.App.Writer, asJSON, report)
	case err == context.Canceled: //nolint:errorlint // alone: joined with another, something was not removed
		return &codeError{exitFailed, errors.New("interrupted; everything was stopped and removed")}
	case demo.Unavailable(err):
		return &codeError{exitUnavailable, err}
	}
	if err != nil {
		return err
	}
	if broken := report.Broken(); len(broken) > 0 {
		return &codeError{exitFailed, fmt.Errorf("promises were broken: %s", strings.Join(broken, ", "))}
	}
	return nil
}

func checkDemo(c *cli.Context) error {
	for _, name := range []string{"duration", "clients", "rate", "scale", "readers", "ttl"} {
		if text := fmt.Sprint(c.Value(name)); text == "0" || text == "0s" {
			return usagef(c, "flag --%s %s: want more than that", name, text)
		}
	}
	return allowDemo(c)
}

// allowDemo is what settings.allow is for the other commands.
func allowDemo(c *cli.Context) error {
	if c.Bool("insecure") {
		return nil
	}
	peers := map[string][]peer{}
	if pg, err := pgconn.ParseConfig(c.String("database-url")); err == nil && c.String("database-url") != "" {
		peers["database_url"] = postgresPeers(pg)
	}
	if hosts, err := natsPeers(c.String("nats-url"), false); err == nil {
		peers["nats_url"] = hosts
	}
	if options, err := parseRedis(c.String("redis-url")); err == nil {
		peers["redis_url"] = redisPeers(options)
	}
	for _, key := range []string{"database_url", "nats_url", "redis_url"} { // one that cannot be read is refused later
		if p, bad := exposed(peers[key]); bad {
			flag := "flag --" + strings.ReplaceAll(key, "_", "-")
			return usagef(c, "%s: %q is another machine, and %s: write sslmode=verify-full, tls:// or rediss://, or allow it with --insecure", flag, p.host, p.flaw)
		}
	}
	return nil
}

func printDemo(w io.Writer, asJSON bool, r *demo.Report) error {
	if asJSON {
		return printJSON(w, r)
	}
	return r.Print(w)
}

// printAddresses says how to look around while a demo is kept.
func printAddresses(w io.Writer, a demo.Addresses) {
	fmt.Fprintf(w, `
Everything runs on until Ctrl-C. In another terminal:
  export OUTBOX_DATABASE_URL='%s' OUTBOX_SCHEMA=%s
  export OUTBOX_NATS_URL='%s' OUTBOX_STREAM=%s
  export OUTBOX_REDIS_URL='%s'
  outbox status
  psql "$OUTBOX_DATABASE_URL" -c 'UPDATE %s SET abalance = 0 WHERE aid = 1'
`, redact(a.PostgresURL), a.Schema, redact(a.NATSURL), a.Stream, redact(a.RedisURL), a.Table)
}

// sayUnused names what is set and not used: see the description of the command.
func sayUnused(c *cli.Context) {
	for _, s := range settingTable {
		if s.section != "" || !s.secret || c.IsSet(s.name) {
			continue
		}
		for _, name := range s.variables() {
			if os.Getenv(name) != "" {
				fmt.Fprintf(c.App.ErrWriter, "$%s is set and not used: to put this load there, give --%s\n", name, s.name)
				break
			}
		}
	}
}
