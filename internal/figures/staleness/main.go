// Command staleness runs the arms of the staleness experiment on servers that it starts, and writes their tables, figures and
// results.json.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/figures/stalenessfigures"
	"github.com/seed-6eff6314/outbox-relay/internal/staleness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "staleness:", err)
		os.Exit(1)
	}
}

// silent discards the client's log, which has a line for each dial that fails while an arm has stopped Redis.
type silent struct{}

// Printf does nothing.
func (silent) Printf(context.Context, string, ...any) {}

func run(ctx context.Context) (err error) {
	redis.SetLogger(silent{})
	cfg := staleness.Full()
	flag.DurationVar(&cfg.Duration, "duration", cfg.Duration, "`TIME` of the load of each arm; controls take half of it")
	flag.Uint64Var(&cfg.Seed, "seed", 0, "`SEED` of the choice of rows and of pauses; 0 means a random one")
	flag.IntVar(&cfg.Updates, "updates", cfg.Updates, "`N` rows that the writers update each second")
	flag.IntVar(&cfg.Reads, "reads", cfg.Reads, "`N` reads each second")
	flag.StringVar(&cfg.Program, "program", "", "`PATH` of the program outbox; go build makes one if empty")
	arms := flag.String("arms", "", "`NAMES` of arms, separated by commas; all if empty")
	out := flag.String("out", "docs/staleness", "`FOLDER` of README.md, results.json and the figures")
	redraw := flag.Bool("redraw", false, "run nothing; write the tables and figures of results.json")
	flag.Parse()
	if *redraw {
		return update(*out, func(*staleness.Report) {})
	}
	cfg.Log = os.Stderr
	if cfg.Seed == 0 {
		cfg.Seed = 1 + rand.Uint64N(1<<31) // #nosec G404 -- not a secret
	}
	if cfg.Program == "" {
		dir, err := os.MkdirTemp("", "outbox-staleness")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
		if cfg.Program, err = staleness.Build(ctx, dir); err != nil {
			return err
		}
	}
	began := time.Now()
	err = runArms(ctx, cfg, *arms, *out)
	fmt.Fprintf(os.Stderr, "took %s, seed %d\n", time.Since(began).Round(time.Second), cfg.Seed)
	return err
}

// runArms runs arms, and updates the folder after each one.
func runArms(ctx context.Context, cfg staleness.Config, names, out string) error {
	var order []string
	all := staleness.Arms(cfg.Stall.Most)
	for _, arm := range all {
		order = append(order, arm.Name)
	}
	var failed []error
	for _, arm := range all {
		if names != "" && !slices.Contains(strings.Split(names, ","), arm.Name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", arm.Name, arm.Title)
		result, err := staleness.Run(ctx, arm, cfg)
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		fmt.Fprintf(os.Stderr, "    %s\n", result)
		failed = append(failed, result.Err())
		if err := update(out, func(r *staleness.Report) { r.Add(result, cfg, order) }); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// update changes the report of a folder, and writes its tables and figures.
func update(dir string, change func(*staleness.Report)) error {
	report, err := staleness.ReadReport(dir)
	if err != nil {
		return err
	}
	change(report)
	return errors.Join(report.Write(dir), stalenessfigures.Write(report, dir))
}
