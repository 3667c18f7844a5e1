// Command bench runs scenarios and curves on servers that it starts, and writes their tables, figures and results.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/bench/dev"
	"github.com/seed-6eff6314/outbox-relay/internal/child"
	"github.com/seed-6eff6314/outbox-relay/internal/figures/benchfigures"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	if kind := dev.Serving(); kind != "" { // started by measure, to be its NATS
		return dev.Serve(ctx, kind, os.Stdin, os.Stdout)
	}
	cfg := bench.Config{Progress: os.Stderr}
	scenarios := flag.String("scenarios", "all,waiting", "`NAMES` of scenarios, separated by commas; none if empty")
	curves := flag.String("curves", "", "`NAMES` of curves, separated by commas, or all; none if empty")
	out := flag.String("out", "docs/performance", "`FOLDER` of the pages, results.json and the figures")
	flag.StringVar(&cfg.Program, "program", "", "`PATH` of the program outbox; go build makes one if empty")
	flag.IntVar(&cfg.Runs, "runs", 0, "`N` runs of each arm; 0 means 5, and 3 for curves")
	flag.IntVar(&cfg.Events, "events", 0, "`N` events in each run; 0 means the scenario's default")
	flag.IntVar(&cfg.Payload, "payload", 0, "`BYTES` of each event; 0 means 200")
	flag.DurationVar(&cfg.Duration, "duration", 0, "`TIME` of each run; 0 means the scenario's default")
	flag.StringVar(&cfg.Profile, "profile", "", "`FOLDER` for CPU and allocation profiles of the runs of ours; none if empty")
	redraw := flag.Bool("redraw", false, "run nothing; write the tables and figures of results.json")
	flag.Parse()
	if *redraw {
		return update(*out, func(*bench.Report) {})
	}
	if err := cfg.Settings.Check(); err != nil {
		return err
	}
	return measure(ctx, cfg, names(*scenarios), names(*curves), *out)
}

func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// measure starts servers and runs scenarios and curves on them.
func measure(ctx context.Context, cfg bench.Config, scenarios, curves []string, out string) (err error) {
	if cfg.Program == "" {
		dir, err := os.MkdirTemp("", "outbox-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		if cfg.Program, err = child.Build(ctx, dir, "github.com/seed-6eff6314/outbox-relay/cmd/outbox", "-trimpath"); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	servers, stop, err := dev.Start(ctx, []string{self}, os.Stderr)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	cfg.Servers = servers
	began := time.Now()
	err = errors.Join(runScenarios(ctx, cfg, scenarios, out), runCurves(ctx, cfg, curves, out))
	fmt.Fprintf(os.Stderr, "took %s\n", time.Since(began).Round(time.Second))
	return err
}

// runScenarios runs scenarios, and updates the folder after each one.
func runScenarios(ctx context.Context, cfg bench.Config, names []string, out string) error {
	scenarios, err := bench.Find(names...)
	if err != nil {
		return err
	}
	for _, s := range scenarios {
		platform, err := bench.ReadPlatform(ctx, cfg.Servers)
		if err != nil {
			return err
		}
		result, err := s.Run(ctx, cfg)
		if err != nil {
			return err
		}
		if err := result.Print(os.Stderr); err != nil {
			return err
		}
		if err := update(out, func(r *bench.Report) { r.Platform = platform; r.Add(result) }); err != nil {
			return err
		}
	}
	return nil
}

// runCurves runs curves, and updates the folder after each one.
func runCurves(ctx context.Context, cfg bench.Config, names []string, out string) error {
	if len(names) == 1 && names[0] == "all" {
		names = nil
		for _, c := range bench.Curves() {
			names = append(names, c.Name)
		}
	}
	for _, name := range names {
		curve, err := bench.FindCurve(name)
		if err != nil {
			return err
		}
		result, err := curve.Run(ctx, cfg)
		if err != nil {
			return err
		}
		if err := update(out, func(r *bench.Report) { r.AddCurve(result) }); err != nil {
			return err
		}
	}
	return nil
}

// update changes the report of a folder, and writes its tables and figures.
func update(dir string, change func(*bench.Report)) error {
	report, err := bench.ReadReport(dir)
	if err != nil {
		return err
	}
	change(report)
	return errors.Join(report.Write(dir), benchfigures.Write(report, dir))
}
