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
		Name: "demo", Usage: "run everything under load and faults, then count what was lost", UsageText: "outbox-dev demo [flags]",
		Description: `Starts PostgreSQL, NATS and Redis. pgbench, an application that knows nothing of outbox, updates accounts; a trigger captures
its changes as events, the relay publishes them, and the invalidator deletes the cached balances that they make stale. The
demo kills the relay once and stops NATS once. In the end it compares every message of the stream with the outbox table, and
every cached value with its row. The exit code is 1 if an event was lost, stored twice or out of order, or a value is stale.

A server named by its flag is used instead of starting one, and is never stopped. What the demo creates there has a name of
its own, and the demo removes it. The demo reads URLs from flags only: those of the environment may be servers that must not
get this load.

Examples:
  outbox-dev demo
  outbox-dev demo --duration 15s -o json | jq '.lost, .duplicates, .reordered'
  outbox-dev demo --duration 60s --clients 16 --rate 2000`,
		Flags:  append(demoServers(), demoFlags()...),
		Action: runDemo,
	}
}

func demoFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "duration", Value: 30 * time.Second, Usage: "`TIME` that the load lasts, 6s to 1h"},
		&cli.IntFlag{Name: "clients", Value: 4, Usage: "`N` clients of pgbench, 1 to 100"},
		&cli.IntFlag{Name: "rate", Value: 400, Usage: "`N` transactions per second that pgbench aims at"},
		&cli.IntFlag{Name: "scale", Value: 1, Usage: "`N` times 100,000 accounts, 1 to 100"},
		&cli.IntFlag{Name: "readers", Value: 4, Usage: "`N` readers of cached balances, 1 to 64"},
		&cli.DurationFlag{Name: "ttl", Value: time.Hour, Usage: "`TIME` that a cached value may live, at least 1s"},
		&cli.BoolFlag{Name: "insecure", Usage: "allow unencrypted connections to other machines, and servers whose certificate is not verified"},
		&cli.BoolFlag{Name: "keep", Usage: "print the report, then keep everything running until Ctrl-C"},
		programFlag(),
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
	config, err := demoConfig(c)
	if err != nil {
		return err
	}
	program, remove, err := findOutbox(c)
	defer remove()
	if err != nil {
		return err
	}
	config.Relay = program
	dial.LogRedis(slog.New(slog.DiscardHandler)) // its log would disturb the panel
	print := func(r *demo.Report) error {
		if c.String("output") == "json" {
			return term.JSON(c.App.Writer, r)
		}
		return r.Print(c.App.Writer)
	}
	if c.Bool("keep") {
		config.Keep = func(ctx context.Context, r *demo.Report, a demo.Addresses) error {
			err := print(r)
			printAddresses(c.App.ErrWriter, a)
			<-ctx.Done()
			return err
		}
	}
	warnOfUnused(c)
	report, err := demo.Run(c.Context, config)
	switch {
	case report != nil && err == nil && config.Keep == nil:
		err = print(report)
	case err == context.Canceled: //nolint:errorlint // wrapped or joined, something was not removed
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

// demoConfig checks the flags.
func demoConfig(c *cli.Context) (demo.Config, error) {
	config := demo.Config{
		PostgresURL: c.String("database-url"), NATSURL: c.String("nats-url"), RedisURL: c.String("redis-url"),
		Duration: c.Duration("duration"), Clients: c.Int("clients"), Rate: c.Int("rate"), Scale: c.Int("scale"),
		Readers: c.Int("readers"), TTL: c.Duration("ttl"), Progress: c.App.ErrWriter, NoColor: os.Getenv("NO_COLOR") != "",
	}
	for _, name := range []string{"duration", "clients", "rate", "scale", "readers", "ttl"} { // zero means the default in a Config
		if text := fmt.Sprint(c.Value(name)); text == "0" || text == "0s" {
			return config, exit.Usagef(c, "flag --%s %s; want more than that", name, text)
		}
	}
	if err := checkPeers(c); err != nil {
		return config, err
	}
	if err := config.Check(); err != nil {
		return config, exit.Usagef(c, "%w", err)
	}
	return config, nil
}

// checkPeers refuses servers on other machines without verified encryption, as the settings of outbox do. An invalid URL is
// refused later, by demo.Run.
func checkPeers(c *cli.Context) error {
	if c.Bool("insecure") {
		return nil
	}
	for _, name := range []string{"database-url", "nats-url", "redis-url"} {
		text := c.String(name)
		if p, bad := dial.Exposed(strings.ReplaceAll(name, "-", "_"), text); text != "" && bad {
			return exit.Usagef(c, "flag --%s: %q is another machine, and %s; want sslmode=verify-full, tls:// or rediss://, or --insecure to allow it", name, p.Host, p.Flaw)
		}
	}
	return nil
}

// printAddresses prints how to connect while a demo keeps running.
func printAddresses(w io.Writer, a demo.Addresses) {
	fmt.Fprintf(w, `
Everything keeps running until Ctrl-C. In another terminal:
  export OUTBOX_DATABASE_URL='%s' OUTBOX_SCHEMA=%s
  export OUTBOX_NATS_URL='%s' OUTBOX_STREAM=%s
  export OUTBOX_REDIS_URL='%s'
  outbox status
  psql "$OUTBOX_DATABASE_URL" -c 'UPDATE %s SET abalance = 0 WHERE aid = 1'
`, redact.Text(a.PostgresURL), a.Schema, redact.Text(a.NATSURL), a.Stream, redact.Text(a.RedisURL), a.Table)
}

// warnOfUnused names the URLs in the environment, which outbox uses and the demo does not.
func warnOfUnused(c *cli.Context) {
	for _, s := range setting.All() {
		if s.Section() != "" || !s.Secret() || c.IsSet(s.Name()) {
			continue
		}
		for _, name := range s.Variables() {
			if os.Getenv(name) != "" {
				fmt.Fprintf(c.App.ErrWriter, "$%s is set and not used; to run the demo on that server, use --%s\n", name, s.Name())
				break
			}
		}
	}
}
