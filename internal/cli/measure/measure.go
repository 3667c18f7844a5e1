// Package measure is the command bench of the programs outbox, for the servers of its settings, and outbox-dev, for
// servers that it starts: flags, progress, report and exit code. Package bench does the measuring.
package measure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

// Flags returns the flags that choose and size scenarios, and -o.
func Flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "scenario", Value: "all", Usage: "`NAMES` of scenarios, joined by commas; all excludes those that take very long: relays and waiting"},
		&cli.StringFlag{Name: "curve", Usage: "`NAME` of a curve to run instead of scenarios"},
		&cli.BoolFlag{Name: "check", Usage: "exit with 3 if a result misses its target"},
		&cli.IntFlag{Name: "runs", DefaultText: "5, of a curve 3 for each point", Usage: "`N` pairs of floor and outbox, 1 to 100"},
		&cli.IntFlag{Name: "events", DefaultText: "the scenario's", Usage: "`N` events in each run"},
		&cli.IntFlag{Name: "payload", DefaultText: "200", Usage: "`BYTES` of each event"},
		&cli.DurationFlag{Name: "duration", DefaultText: "the scenario's", Usage: "`TIME` of each run that its events do not end"},
		&cli.IntFlag{Name: "rate", DefaultText: "the scenario's", Usage: "`N` events per second, of loads with a rate"},
		&cli.IntFlag{Name: "clients", DefaultText: "the scenario's", Usage: "`N` clients that write at the same time"},
		&cli.IntFlag{Name: "replicas", DefaultText: "1", Usage: "`N` replicas of streams, 1 to 5"},
		&cli.IntFlag{Name: "keys", DefaultText: "the scenario's", Usage: "`N` keys that an event makes stale, or members of a tag"},
		term.OutputFlag(),
	}
}

// Scenarios returns a list of scenarios and curves for --help.
func Scenarios() string {
	var b strings.Builder
	b.WriteString("Scenarios:\n\n") //nolint:errcheck // a Builder never fails
	for _, s := range bench.Scenarios() {
		fmt.Fprintf(&b, "  %-17s %s\n", s.Name, s.Short)
	}
	var curves []string
	for _, c := range bench.Curves() {
		curves = append(curves, c.Name)
	}
	return b.String() + "\nA curve repeats one scenario while one setting changes: " + strings.Join(curves, ", ") + "."
}

// A Run is what a command line asks for.
type Run struct {
	Program string // path of the program outbox, of which a scenario measures a relay

	c         *cli.Context
	config    bench.Config
	scenarios []*bench.Scenario
	curve     *bench.Curve
	json      bool
}

// A report is what -o json prints.
type report struct {
	Platform *bench.Platform    `json:"platform"`
	Results  []*bench.Result    `json:"results"`
	Curve    *bench.CurveResult `json:"curve,omitempty"`
}

// Parse checks the flags; its errors are usage errors.
func Parse(c *cli.Context) (*Run, error) {
	r := &Run{c: c, json: c.String("output") == "json"}
	r.config = bench.Config{
		Settings: bench.Settings{
			Runs: c.Int("runs"), Events: c.Int("events"), Payload: c.Int("payload"), Duration: c.Duration("duration"), Rate: c.Int("rate"),
			Clients: c.Int("clients"), Replicas: c.Int("replicas"), Keys: c.Int("keys"),
		},
		Progress: c.App.ErrWriter,
	}
	if err := r.config.Settings.Check(); err != nil {
		return nil, exit.Usagef(c, "%w", err)
	}
	if err := r.plan(); err != nil {
		return nil, exit.Usagef(c, "%w", err)
	}
	return r, nil
}

func (r *Run) plan() (err error) {
	if name := r.c.String("curve"); name != "" {
		if r.c.IsSet("scenario") {
			return errors.New("want --scenario or --curve, not both")
		}
		r.curve, err = bench.FindCurve(name)
		return err
	}
	r.scenarios, err = bench.Find(setting.Split(r.c.String("scenario"))...)
	if err == nil && len(r.scenarios) == 0 {
		err = errors.New("flag --scenario is empty; want all, or names of scenarios")
	}
	return err
}

// Play measures the servers and prints the report. With --check, a missed target is an error with exit code Findings.
func (r *Run) Play(ctx context.Context, servers *bench.Servers) error {
	r.config.Servers, r.config.Program = servers, r.Program
	platform, err := bench.ReadPlatform(ctx, servers)
	if err != nil {
		return err
	}
	found := &report{Platform: platform}
	if r.curve != nil {
		found.Curve, err = r.curve.Run(ctx, r.config)
	} else {
		found.Results, err = r.play(ctx)
	}
	if ctx.Err() != nil {
		if errors.Is(err, context.Canceled) {
			err = nil // the interruption itself
		}
		return exit.With(exit.Failed, errors.Join(errors.New("interrupted; everything that it made was removed"), err))
	}
	if err != nil {
		return err
	}
	return errors.Join(r.print(found), r.check(found.Results))
}

// play runs the scenarios one after the other. It prints each result as soon as it has it, unless all go into one JSON.
func (r *Run) play(ctx context.Context) (results []*bench.Result, err error) {
	isNamed := r.c.String("scenario") != "all"
	for _, scenario := range r.scenarios {
		result, err := scenario.Run(ctx, r.config)
		if errors.Is(err, bench.ErrNoReplicas) && !isNamed {
			fmt.Fprintf(r.c.App.ErrWriter, "  %s is left out: %v\n", scenario.Name, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		results = append(results, result)
		if !r.json {
			if err := result.Print(r.c.App.Writer); err != nil {
				return nil, err
			}
		}
	}
	return results, nil
}

// print prints what play has not printed yet.
func (r *Run) print(found *report) error {
	switch {
	case r.json:
		return term.JSON(r.c.App.Writer, found)
	case found.Curve != nil:
		return found.Curve.Print(r.c.App.Writer)
	}
	_, err := fmt.Fprintln(r.c.App.Writer, found.Platform)
	return err
}

func (r *Run) check(results []*bench.Result) error {
	if !r.c.Bool("check") {
		return nil
	}
	var missed []string
	for _, result := range results {
		for _, m := range result.Missed() {
			missed = append(missed, fmt.Sprintf("%s: %s, want %s", result.Scenario, m.Metric, m.Want))
		}
	}
	if len(missed) > 0 {
		return exit.Findingsf("targets missed: %s", strings.Join(missed, "; "))
	}
	return nil
}
