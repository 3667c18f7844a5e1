// Command run plays the arms of the staleness experiment and writes the table, the figures and all numbers.
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
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/figures/stalenessfigures"
	"github.com/seed-6eff6314/outbox-relay/internal/staleness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "staleness:", err)
		os.Exit(1)
	}
}

// silent hears of every dial that fails while an arm has Redis stopped.
type silent struct{}

// Printf says nothing.
func (silent) Printf(context.Context, string, ...any) {}

func run(ctx context.Context) (err error) {
	redis.SetLogger(silent{})
	cfg := staleness.Full()
	flag.DurationVar(&cfg.Duration, "duration", cfg.Duration, "of the load of each arm; controls take half of it")
	flag.Uint64Var(&cfg.Seed, "seed", 0, "of rows and pauses; 0: by chance")
	flag.IntVar(&cfg.Updates, "updates", cfg.Updates, "rows a second")
	flag.IntVar(&cfg.Reads, "reads", cfg.Reads, "reads a second")
	flag.StringVar(&cfg.Program, "program", "", "outbox, if it shall not be built")
	arms := flag.String("arms", "", "names of those to play, separated by commas; all by default")
	out := flag.String("out", "docs/staleness", "folder of README.md, results.json and the figures")
	flag.Parse()
	cfg.Log = os.Stderr
	if cfg.Seed == 0 {
		cfg.Seed = 1 + rand.Uint64N(1<<31) // #nosec G404 -- nothing to guess
	}
	if cfg.Program == "" {
		dir, err := os.MkdirTemp("", "outbox-staleness")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // in the temporary folder
		if cfg.Program, err = staleness.Build(ctx, dir); err != nil {
			return err
		}
	}
	began := time.Now()
	err = play(ctx, cfg, *arms, *out)
	fmt.Fprintf(os.Stderr, "took %s, seed %d\n", time.Since(began).Round(time.Second), cfg.Seed)
	return err
}

// play plays the arms and writes after each.
func play(ctx context.Context, cfg staleness.Config, arms, out string) error {
	report, err := staleness.ReadReport(out)
	if err != nil {
		return err
	}
	var order []string
	all := staleness.Arms(cfg.Stall.Most)
	for _, arm := range all {
		order = append(order, arm.Name)
	}
	var broken []error
	for _, arm := range all {
		if arms != "" && !slices.Contains(strings.Split(arms, ","), arm.Name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", arm.Name, arm.Title)
		r, err := staleness.Run(ctx, arm, cfg)
		if err != nil {
			return errors.Join(append(broken, err)...)
		}
		fmt.Fprintf(os.Stderr, "    %s\n", r)
		broken = append(broken, r.Err())
		report.Add(r, cfg, order)
		if err := errors.Join(report.Write(out), figures.Write(report, out)); err != nil {
			return err
		}
	}
	return errors.Join(broken...)
}
