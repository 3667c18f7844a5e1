package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/bench/dev"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name: "bench", Usage: "measure your servers: the raw floor, ours, their ratio, and what it is bound by", UsageText: "outbox bench [--dev] [--scenario <names> | --curve <name>] [flags]",
		Description: `Plays scenarios on your servers, or with --dev on some of its own, and holds each against the same calls with nothing around
them: floor, ours, floor, ours … It needs the right to create schemas and streams. What it makes has random names that begin with
outbox_bench_, and is removed, also after Ctrl-C; no table, stream or key of yours is touched, but the servers get all the load
that they can take. Scenarios:

` + scenarioList() + `
A curve plays one scenario over and over: ` + curveList() + `.

Examples:
  outbox bench --dev --scenario drain --events 100000
  outbox bench --scenario steady,latency --runs 3 -o json | jq '.results[].measures'
  outbox bench --curve payload --events 50000
  outbox bench --dev --scenario drain,writer --check`,
		Flags:  append(setting.Flags("bench"), benchFlags()...),
		Action: action("bench", runBench),
	}
}

func scenarioList() string {
	var b strings.Builder
	for _, s := range bench.Scenarios() {
		fmt.Fprintf(&b, "  %-17s %s\n", s.Name, s.Short) //nolint:errcheck // a Builder never fails
	}
	return b.String()
}

func curveList() string {
	var names []string
	for _, c := range bench.Curves() {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

func benchFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "scenario", Value: "all", Usage: "`NAMES` of scenarios, joined by commas; all leaves out those that take very long: relays and waiting"},
		&cli.StringFlag{Name: "curve", Usage: "`NAME` of a curve to play instead"},
		&cli.BoolFlag{Name: "dev", Usage: "start PostgreSQL, NATS and Redis for it, instead of using those of the settings"},
		&cli.BoolFlag{Name: "check", Usage: "exit with 3 if something is not as the project wants it"},
		&cli.IntFlag{Name: "runs", DefaultText: "5, of a curve 3 for each point", Usage: "`N` pairs of floor and ours, 1 to 100"},
		&cli.IntFlag{Name: "events", DefaultText: "the scenario's", Usage: "`N` events in each run"},
		&cli.IntFlag{Name: "payload", DefaultText: "200", Usage: "`BYTES` of an event"},
		&cli.DurationFlag{Name: "duration", DefaultText: "the scenario's", Usage: "`TIME` of each run that is not ended by its events"},
		&cli.IntFlag{Name: "rate", DefaultText: "the scenario's", Usage: "`N` events a second, of loads with a pace"},
		&cli.IntFlag{Name: "clients", DefaultText: "the scenario's", Usage: "`N` clients that write at once"},
		&cli.IntFlag{Name: "replicas", DefaultText: "1", Usage: "`N` replicas of streams, 1 to 5"},
		&cli.IntFlag{Name: "keys", DefaultText: "the scenario's", Usage: "`N` keys that an event makes stale, or members of a tag"},
		term.OutputFlag(),
	}
}

// benchReport is what -o json prints.
type benchReport struct {
	Place   *bench.Place    `json:"place"`
	Results []*bench.Result `json:"results"`
	Curve   *bench.Drawn    `json:"curve,omitempty"`
}

func runBench(ctx context.Context, s *session) (err error) {
	if kind := dev.Serving(); kind != "" { // with --dev, for the one that started it
		return dev.Serve(ctx, kind, s.c.App.Reader, s.c.App.Writer)
	}
	cfg, err := benchConfig(s.c)
	if err != nil {
		return err
	}
	scenarios, curve, err := benchPlan(s.c)
	if err != nil {
		return err
	}
	servers, stop, err := benchServers(ctx, s)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	cfg.Servers = servers
	report := &benchReport{}
	if report.Place, err = bench.Where(ctx, servers); err != nil {
		return err
	}
	if curve != nil {
		report.Curve, err = curve.Run(ctx, cfg)
	} else {
		err = playBench(s.c, scenarios, cfg, report, s.json)
	}
	if ctx.Err() != nil {
		return exit.With(exit.Failed, errors.Join(errors.New("interrupted; what was made is removed"), stripped(err)))
	}
	if err != nil {
		return err
	}
	return errors.Join(printBench(s.c.App.Writer, s.json, report), checkBench(s.c, report))
}

// stripped is what else went wrong when a run was interrupted.
func stripped(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func playBench(c *cli.Context, scenarios []*bench.Scenario, cfg bench.Config, report *benchReport, asJSON bool) error {
	for _, scenario := range scenarios {
		r, err := scenario.Run(c.Context, cfg)
		if errors.Is(err, bench.ErrNoReplicas) && !named(c) {
			fmt.Fprintf(c.App.ErrWriter, "  %s is left out: %v\n", scenario.Name, err) //nolint:errcheck // only progress
			continue
		}
		if err != nil {
			return err
		}
		report.Results = append(report.Results, r)
		if !asJSON { // a person does not want to wait for the last one
			if err := r.Print(c.App.Writer); err != nil {
				return err
			}
		}
	}
	return nil
}

// named says whether the scenarios were chosen, and not simply all of them.
func named(c *cli.Context) bool { return c.String("scenario") != "all" }

func benchConfig(c *cli.Context) (bench.Config, error) {
	cfg := bench.Config{
		Settings: bench.Settings{
			Runs: c.Int("runs"), Events: c.Int("events"), Payload: c.Int("payload"), Duration: c.Duration("duration"), Rate: c.Int("rate"),
			Clients: c.Int("clients"), Replicas: c.Int("replicas"), Keys: c.Int("keys"),
		},
		Progress: c.App.ErrWriter,
	}
	if err := cfg.Settings.Check(); err != nil {
		return cfg, exit.Usagef(c, "%w", err)
	}
	var err error
	cfg.Program, err = os.Executable()
	if err != nil {
		return cfg, fmt.Errorf("find this program: %w", err)
	}
	return cfg, nil
}

func benchPlan(c *cli.Context) ([]*bench.Scenario, *bench.Curve, error) {
	if name := c.String("curve"); name != "" {
		if c.IsSet("scenario") {
			return nil, nil, exit.Usagef(c, "--scenario and --curve: one of them")
		}
		curve, err := bench.FindCurve(name)
		if err != nil {
			return nil, nil, exit.Usagef(c, "%w", err)
		}
		return nil, curve, nil
	}
	scenarios, err := bench.Find(setting.Split(c.String("scenario"))...)
	if err != nil || len(scenarios) == 0 {
		return nil, nil, exit.Usagef(c, "%w", errors.Join(err, errIf(len(scenarios) == 0 && err == nil, "no scenario is named")))
	}
	return scenarios, nil, nil
}

func errIf(condition bool, text string) error {
	if condition {
		return errors.New(text)
	}
	return nil
}

// benchServers starts servers, or takes those of the settings. stop is never nil.
func benchServers(ctx context.Context, s *session) (*bench.Servers, func() error, error) {
	if s.c.Bool("dev") {
		self, err := os.Executable()
		if err != nil {
			return nil, func() error { return nil }, fmt.Errorf("find this program: %w", err)
		}
		servers, stop, err := dev.Start(ctx, []string{self, "bench"}, s.c.App.ErrWriter)
		if err != nil {
			err = exit.Unreached("a server of --dev", err)
		}
		return servers, stop, err
	}
	pool, err := dial.Postgres(ctx, s.set, s.c.Command.HelpName)
	if err != nil {
		return nil, func() error { return nil }, err
	}
	config := pool.Config()
	pool.Close()
	rdb, err := dial.Redis(s.set, s.set.Log)
	if err != nil {
		return nil, func() error { return nil }, err
	}
	servers := &bench.Servers{
		Postgres: config, Redis: rdb, Env: benchEnv(s),
		NATS: func(name string, options ...nats.Option) (*nats.Conn, error) {
			nc, _, err := dial.ConnectNATS(s.set, name, options...)
			return nc, err
		},
	}
	nc, _, err := dial.NATS(ctx, s.set, "outbox bench") // said now, and after --wait
	if err == nil {
		nc.Close()
	}
	return servers, rdb.Close, err
}

// benchEnv hands the settings on to a relay in a process of its own.
func benchEnv(s *session) (env []string) {
	for _, known := range setting.All() {
		if known.Section() == "" && s.set.Text(known.Key()) != "" && known.Name() != "stream" && known.Name() != "schema" {
			env = append(env, known.Variables()[0]+"="+s.set.Text(known.Key()))
		}
	}
	return env
}

func printBench(w io.Writer, asJSON bool, r *benchReport) error {
	switch {
	case asJSON:
		return term.JSON(w, r)
	case r.Curve != nil:
		return r.Curve.Print(w)
	}
	_, err := fmt.Fprintln(w, r.Place) // the results stand above
	return err
}

func checkBench(c *cli.Context, r *benchReport) error {
	if !c.Bool("check") {
		return nil
	}
	var missed []string
	for _, result := range r.Results {
		for _, m := range result.Missed() {
			missed = append(missed, fmt.Sprintf("%s: %s, want %s", result.Scenario, m.Metric, m.Want))
		}
	}
	if len(missed) > 0 {
		return exit.Findingsf("not as wanted: %s", strings.Join(missed, "; "))
	}
	return nil
}
