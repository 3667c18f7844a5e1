// Command run plays the scenarios and curves on servers of their own and writes tables, figures and all numbers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/bench/dev"
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
	cfg := bench.Config{Progress: os.Stderr}
	scenarios := flag.String("scenarios", "all,waiting", "names of those to play, separated by commas; empty: none")
	curves := flag.String("curves", "", "names of curves to play, separated by commas, or all")
	out := flag.String("out", "docs/performance", "folder of README.md, results.json and the figures")
	flag.StringVar(&cfg.Program, "program", "", "outbox, if it shall not be built")
	flag.IntVar(&cfg.Runs, "runs", 0, "pairs of floor and ours; 0: 5, of curves 3")
	flag.IntVar(&cfg.Events, "events", 0, "in a run; 0: the scenario's own")
	flag.IntVar(&cfg.Payload, "payload", 0, "bytes of an event; 0: 200")
	flag.DurationVar(&cfg.Duration, "duration", 0, "of a run; 0: the scenario's own")
	flag.StringVar(&cfg.Profile, "profile", "", "folder for CPU and allocation profiles of the runs of ours; empty: none")
	redraw := flag.Bool("redraw", false, "play nothing, write tables and figures of results.json")
	flag.Parse()
	if *redraw {
		return write(nil, *out)
	}
	if err := cfg.Settings.Check(); err != nil {
		return err
	}
	if cfg.Program == "" {
		dir, err := os.MkdirTemp("", "outbox-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // in the temporary folder
		cfg.Program = filepath.Join(dir, "outbox")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", cfg.Program, "github.com/seed-6eff6314/outbox-relay/cmd/outbox") // #nosec G204 -- our own folder
		if said, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build outbox: %w: %s", err, said)
		}
	}
	servers, stop, err := dev.Start(ctx, []string{cfg.Program, "bench"}, os.Stderr)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	cfg.Servers = servers
	began := time.Now()
	err = errors.Join(play(ctx, cfg, names(*scenarios), *out), drawn(ctx, cfg, names(*curves), *out))
	fmt.Fprintf(os.Stderr, "took %s\n", time.Since(began).Round(time.Second))
	return err
}

func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// play plays scenarios and writes after each.
func play(ctx context.Context, cfg bench.Config, list []string, out string) error {
	scenarios, err := bench.Find(list...)
	if err != nil {
		return err
	}
	for _, s := range scenarios {
		place, err := bench.Where(ctx, cfg.Servers)
		if err != nil {
			return err
		}
		r, err := s.Run(ctx, cfg)
		if err != nil {
			return err
		}
		if err := r.Print(os.Stderr); err != nil {
			return err
		}
		if err := write(func(report *bench.Report) { report.Place = place; report.Add(r) }, out); err != nil {
			return err
		}
	}
	return nil
}

// drawn plays curves and writes after each.
func drawn(ctx context.Context, cfg bench.Config, list []string, out string) error {
	if len(list) == 1 && list[0] == "all" {
		list = nil
		for _, c := range bench.Curves() {
			list = append(list, c.Name)
		}
	}
	for _, name := range list {
		curve, err := bench.FindCurve(name)
		if err != nil {
			return err
		}
		d, err := curve.Run(ctx, cfg)
		if err != nil {
			return err
		}
		if err := write(func(report *bench.Report) { report.AddCurve(d) }, out); err != nil {
			return err
		}
	}
	return nil
}

// write changes results.json, and writes tables and figures of it.
func write(change func(*bench.Report), out string) error {
	report, err := bench.ReadReport(out)
	if err != nil {
		return err
	}
	if change != nil {
		change(report)
	}
	return errors.Join(report.Write(out), figures.Write(report, out))
}
