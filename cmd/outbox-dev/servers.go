package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// envFile receives the URLs of the servers, as shell commands.
const envFile = ".servers.env"

func serversCommand() *cli.Command {
	return &cli.Command{
		Name: "servers", Usage: "start servers to try things on, until Ctrl-C", UsageText: "outbox-dev servers",
		Description: `Starts PostgreSQL, NATS and Redis on free ports and writes their URLs to ` + envFile + ` in the current folder, for the shell to
read. In the end it removes that file and everything that the servers stored.

Examples:
  outbox-dev servers
  . ./` + envFile + ` && outbox migrate up # in another terminal`,
		Action: func(c *cli.Context) error { return serve(c.Context, c.App.ErrWriter) },
	}
}

// serve runs the servers until ctx ends.
func serve(ctx context.Context, log io.Writer) (err error) {
	closing := func(server io.Closer) { err = errors.Join(err, server.Close()) }
	postgres, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Fsync: true, Log: log})
	if err != nil {
		return exit.With(exit.Unavailable, err)
	}
	defer closing(postgres)
	broker, err := devstack.StartNATS(devstack.NATSConfig{Log: log})
	if err != nil {
		return exit.With(exit.Unavailable, err)
	}
	defer closing(broker)
	cache, err := devstack.StartRedis(ctx, devstack.RedisConfig{Log: log})
	if err != nil {
		return exit.With(exit.Unavailable, err)
	}
	defer closing(cache)
	env := fmt.Sprintf("export DATABASE_URL='%s'\nexport NATS_URL='%s'\nexport REDIS_URL='%s'\n", postgres.URL(), broker.URL(), cache.URL())
	if err := os.WriteFile(envFile, []byte(env), 0o600); err != nil {
		return fmt.Errorf("write the URLs: %w", err)
	}
	defer os.Remove(envFile) //nolint:errcheck // nothing to do if somebody removed it
	fmt.Fprintf(log, "The servers run until Ctrl-C. In another terminal: . ./%s\n", envFile)
	<-ctx.Done()
	return nil
}
