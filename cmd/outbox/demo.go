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

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
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
		term.OutputFlag(),
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
	asJSON := c.String("output") == "json"
	if err := checkDemo(c); err != nil {
		return err
	}
	dial.LogRedis(slog.New(slog.DiscardHandler)) // it would print into the panel
	config := demo.Config{
		PostgresURL: c.String("database-url"), NATSURL: c.String("nats-url"), RedisURL: c.String("redis-url"),
		Duration: c.Duration("duration"), Clients: c.Int("clients"), Rate: c.Int("rate"), Scale: c.Int("scale"),
		Readers: c.Int("readers"), TTL: c.Duration("ttl"), Progress: c.App.ErrWriter, NoColor: os.Getenv("NO_COLOR") != "",
	}
	if err := config.Check(); err != nil {
		return exit.Usagef(c, "%w", err)
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
		return exit.With(exit.Failed, errors.New("interrupted; everything was stopped and removed"))
	case demo.Unavailable(err):
		return exit.With(exit.Unavailable, err)
	}
	if err != nil {
		return err
	}
	if broken := report.Broken(); len(broken) > 0 {
		return exit.With(exit.Failed, fmt.Errorf("promises were broken: %s", strings.Join(broken, ", ")))
	}
	return nil
}

func checkDemo(c *cli.Context) error {
	for _, name := range []string{"duration", "clients", "rate", "scale", "readers", "ttl"} {
		if text := fmt.Sprint(c.Value(name)); text == "0" || text == "0s" {
			return exit.Usagef(c, "flag --%s %s: want more than that", name, text)
		}
	}
	return allowDemo(c)
}

// allowDemo is what settings.allow is for the other commands.
func allowDemo(c *cli.Context) error {
	if c.Bool("insecure") {
		return nil
	}
	for _, key := range []string{"database_url", "nats_url", "redis_url"} { // one that cannot be read is refused later
		flag := "flag --" + strings.ReplaceAll(key, "_", "-")
		text := c.String(strings.TrimPrefix(flag, "flag --"))
		if p, bad := dial.Exposed(key, text); text != "" && bad {
			return exit.Usagef(c, "%s: %q is another machine, and %s: write sslmode=verify-full, tls:// or rediss://, or allow it with --insecure", flag, p.Host, p.Flaw)
		}
	}
	return nil
}

func printDemo(w io.Writer, asJSON bool, r *demo.Report) error {
	if asJSON {
		return term.JSON(w, r)
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
`, redact.Text(a.PostgresURL), a.Schema, redact.Text(a.NATSURL), a.Stream, redact.Text(a.RedisURL), a.Table)
}

// sayUnused names what is set and not used: see the description of the command.
func sayUnused(c *cli.Context) {
	for _, s := range setting.All() {
		if s.Section() != "" || !s.Secret() || c.IsSet(s.Name()) {
			continue
		}
		for _, name := range s.Variables() {
			if os.Getenv(name) != "" {
				fmt.Fprintf(c.App.ErrWriter, "$%s is set and not used: to put this load there, give --%s\n", name, s.Name())
				break
			}
		}
	}
}
