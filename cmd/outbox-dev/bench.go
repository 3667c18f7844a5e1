package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/bench/dev"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/measure"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name: "bench", Usage: "measure outbox on this machine", UsageText: "outbox-dev bench [--scenario <names> | --curve <name>] [flags]",
		Description: `Starts PostgreSQL (with fsync), NATS and Redis, and runs scenarios on them. Each compares the outbox with its floor, which is
the same calls without an outbox, in turns: floor, outbox, floor, outbox … The report shows both, their ratio, and what
limits it. To measure servers of your own, run outbox bench.

` + measure.Scenarios() + `

Examples:
  outbox-dev bench --scenario drain --events 100000
  outbox-dev bench --scenario steady,latency --runs 3 -o json | jq '.results[].measures'
  outbox-dev bench --scenario drain,writer --check`,
		Flags:  append(measure.Flags(), programFlag()),
		Action: runBench,
	}
}

func runBench(c *cli.Context) (err error) {
	if kind := dev.Serving(); kind != "" { // started by runBench in another process, to be its NATS
		return dev.Serve(c.Context, kind, c.App.Reader, c.App.Writer)
	}
	run, err := measure.Parse(c)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the path of this program: %w", err)
	}
	program, remove, err := findOutbox(c)
	defer remove()
	if err != nil {
		return err
	}
	run.Program = program
	servers, stop, err := dev.Start(c.Context, []string{self, "bench"}, c.App.ErrWriter)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return exit.With(exit.Unavailable, err)
	}
	return run.Play(c.Context, servers)
}
