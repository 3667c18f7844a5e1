// Command servers starts real PostgreSQL, NATS and Redis on free ports of this machine, writes their URLs to
// .servers.env, and keeps them until Ctrl-C. Everything they held is gone afterwards.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

const envFile = ".servers.env"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	pg, err := devstack.StartPostgres(ctx, devstack.PostgresConfig{Fsync: true, Log: os.Stderr})
	if err != nil {
		return err
	}
	defer pg.Close() //nolint:errcheck // on the way out
	broker, err := devstack.StartNATS(devstack.NATSConfig{Log: os.Stderr})
	if err != nil {
		return err
	}
	defer broker.Close() //nolint:errcheck // on the way out
	cache, err := devstack.StartRedis(ctx, devstack.RedisConfig{Log: os.Stderr})
	if err != nil {
		return err
	}
	defer cache.Close() //nolint:errcheck // on the way out
	env := fmt.Sprintf("export DATABASE_URL='%s'\nexport NATS_URL='%s'\nexport REDIS_URL='%s'\n", pg.URL(), broker.URL(), cache.URL())
	if err := os.WriteFile(envFile, []byte(env), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", envFile, err)
	}
	defer os.Remove(envFile) //nolint:errcheck // on the way out
	fmt.Fprintf(os.Stderr, "ready; in another terminal: . ./%s\n", envFile)
	<-ctx.Done()
	return nil
}
