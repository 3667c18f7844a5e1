// Command peers runs the scenario drain with other projects, on servers of its own, and prints the result as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/bench/dev"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	if kind := dev.Serving(); kind != "" {
		return dev.Serve(ctx, kind, os.Stdin, os.Stdout)
	}
	cfg := bench.Config{Progress: os.Stderr, Peers: []bench.Peer{watermill("watermill", 100), watermill("watermill, batch 4096", 4096)}}
	flag.IntVar(&cfg.Events, "events", 20_000, "`N` events in each run")
	flag.IntVar(&cfg.Runs, "runs", 0, "`N` runs of each arm; 0 means 5")
	flag.Parse()
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
	drain, err := bench.Find("drain")
	if err != nil {
		return err
	}
	r, err := drain[0].Run(ctx, cfg)
	if err != nil {
		return err
	}
	if err := r.Print(os.Stderr); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
