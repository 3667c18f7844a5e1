// Command outbox-dev is for those who evaluate or develop outbox: a demo, servers to try things on, and benchmarks, all of
// them on PostgreSQL, NATS and Redis that it starts on free ports and removes in the end.
//
// It is a program of its own so that outbox, which runs in production, carries no server. The demo and the benchmarks run
// outbox as a separate program. See program.go for where they find it.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/app"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/help"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel() // stop the servers and remove everything
		<-signals
		os.Exit(exit.Failed)
	}()
	os.Exit(app.Run(ctx, newApp(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

func newApp() *cli.App {
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	return app.New(app.Program{
		Name:  "outbox-dev",
		Usage: "try and measure outbox on servers that this program starts",
		Description: `Starts PostgreSQL, NATS and Redis on free ports of this machine. PostgreSQL and Redis must be installed (make deps);
NATS is part of this program.

Exit codes: 0 ok, 1 failed, 2 usage error, 3 findings, 69 a server is not available.`,
		Version:  version,
		Commands: []*cli.Command{demoCommand(), serversCommand(), benchCommand()},
		Categories: []help.Category{
			{Title: "Trying", Commands: []string{"demo", "servers"}},
			{Title: "Measuring", Commands: []string{"bench"}},
		},
	})
}
