package main

import (
	"context"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/measure"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name: "bench", Usage: "measure your servers, and what the outbox costs there", UsageText: "outbox bench [--scenario <names> | --curve <name>] [flags]",
		Description: `Runs scenarios on the servers of the settings. Each compares the outbox with its floor, which is the same calls without an
outbox, in turns: floor, outbox, floor, outbox … The report shows both, their ratio, and what limits it.

Do not run it on servers in use: it puts as much load on them as they can take. It needs the right to create schemas and
streams, and Redis. Everything that it creates has a random name that begins with outbox_bench_, and it removes all of
it in the end, also after Ctrl-C. It touches no table, stream or key of yours. outbox-dev bench does the same on servers
that it starts.

` + measure.Scenarios() + `

Examples:
  outbox bench --scenario drain --events 100000
  outbox bench --scenario steady,latency --runs 3 -o json | jq '.results[].measures'
  outbox bench --curve payload --events 50000
  outbox bench --scenario drain,writer --check`,
		Flags:  append(setting.Flags("bench"), measure.Flags()...),
		Action: action("bench", runBench),
	}
}

func runBench(ctx context.Context, s *session) error {
	run, err := measure.Parse(s.c)
	if err != nil {
		return err
	}
	if run.Program, err = os.Executable(); err != nil {
		return fmt.Errorf("find the path of this program: %w", err)
	}
	servers, err := benchServers(ctx, s)
	if err != nil {
		return err
	}
	return run.Play(ctx, servers)
}

// benchServers returns the servers of the settings once PostgreSQL and NATS have answered. The scenarios open
// connections of their own.
func benchServers(ctx context.Context, s *session) (*bench.Servers, error) {
	if err := s.dialPostgres(ctx); err != nil {
		return nil, err
	}
	if err := s.dialNATS(ctx); err != nil {
		return nil, err
	}
	if err := s.keepRedis(); err != nil { // the scenarios that use Redis check that it answers
		return nil, err
	}
	s.pool.Close()
	s.nc.Close()
	return &bench.Servers{
		Postgres: s.pool.Config(), Redis: s.redis, Env: benchEnv(s.set),
		NATS: func(name string, options ...nats.Option) (*nats.Conn, error) {
			nc, _, err := dial.ConnectNATS(s.set, name, options...)
			return nc, err
		},
	}, nil
}

// benchEnv returns the settings as environment variables, for a relay that runs in a process of its own. That relay
// gets its schema and its stream as flags.
func benchEnv(set *setting.Set) (env []string) {
	for _, known := range setting.All() {
		if known.Section() == "" && set.Text(known.Key()) != "" && known.Name() != "stream" && known.Name() != "schema" {
			env = append(env, known.Variables()[0]+"="+set.Text(known.Key()))
		}
	}
	return env
}
