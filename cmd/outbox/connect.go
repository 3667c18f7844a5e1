package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// connectTimeout bounds a connection attempt where the URL does not, and each question to a server that a person
// waits for.
const connectTimeout = 5 * time.Second

// openTable returns the outbox of the settings and a pool that has not connected yet.
func openTable(c *cli.Context, s settings) (*table.Table, *pgxpool.Pool, error) {
	tbl, err := table.In(s.text("schema"))
	if err != nil {
		return nil, nil, usagef(nil, "%s: %w", s.origin("schema").from, err)
	}
	config, err := pgxpool.ParseConfig(s.text("database_url"))
	if err != nil {
		return nil, nil, badURL(s, "database_url", postgresURL)
	}
	if err := s.securePostgres(&config.ConnConfig.Config); err != nil {
		return nil, nil, err
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = c.Command.HelpName
	}
	pool, err := pgxpool.NewWithConfig(c.Context, config)
	if err != nil {
		return nil, nil, fmt.Errorf("open pool: %w", err)
	}
	return tbl, pool, nil
}

// securePostgres fills in what the settings say beside the URL: they win over it and over the PG* variables.
func (s settings) securePostgres(c *pgconn.Config) error {
	password, err := s.secret("database_password_file")
	if err != nil {
		return err
	}
	if password != "" {
		c.Password = password
	}
	files, err := s.tlsFiles("database")
	if err != nil {
		return err
	}
	if files != nil {
		verifyPostgres(c, files)
	}
	return s.allow("database_url", postgresPeers(c))
}

// verifyPostgres makes every connection that sslmode=verify-full has, and no other: the library's own configuration
// of a host may have one without TLS to fall back to.
func verifyPostgres(c *pgconn.Config, files *tls.Config) {
	if c.TLSConfig != nil {
		files.NextProtos = c.TLSConfig.NextProtos
		if files.RootCAs == nil {
			files.RootCAs = c.TLSConfig.RootCAs
		}
	}
	all := append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port}}, c.Fallbacks...)
	seen := make(map[string]bool)
	var hosts []*pgconn.FallbackConfig
	for _, h := range all {
		network, address := pgconn.NetworkAddress(h.Host, h.Port)
		if seen[address] {
			continue
		}
		seen[address] = true
		host := &pgconn.FallbackConfig{Host: h.Host, Port: h.Port}
		if network != "unix" {
			host.TLSConfig = files.Clone()
			host.TLSConfig.ServerName = h.Host
		}
		hosts = append(hosts, host)
	}
	c.TLSConfig, c.Fallbacks = hosts[0].TLSConfig, hosts[1:]
}

// connectTable is openTable for commands that end when the database is away, at once or after --wait.
func connectTable(c *cli.Context, s settings) (*table.Table, *pgxpool.Pool, error) {
	tbl, pool, err := openTable(c, s)
	if err != nil {
		return nil, nil, err
	}
	err = s.await(postgres, func() error {
		if err := pool.Ping(c.Context); err != nil {
			return s.postgresAway(err)
		}
		return nil
	})
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return tbl, pool, nil
}

// What URLs look like, without the password that they may have: it would be taken for one.
const (
	postgresURL = "postgres://user@host:5432/database, or host=… dbname=…"
	natsURL     = "nats://host:4222 or tls://host:4222, several joined by commas"
	redisURL    = "redis://host:6379[/db], rediss://…, redis-cluster://h1:p,h2:p or redis-sentinel://h1:p,h2:p/master[/db]"
)

// postgresAway says of a database that nobody named where it was looked for.
func (s settings) postgresAway(err error) error {
	if s.text("database_url") == "" {
		err = fmt.Errorf("there is no --database-url and no $DATABASE_URL, so that PG* variables and defaults count: %w", err)
	}
	return &serverError{postgres, err}
}

// badURL does not quote the URL, nor what a parser says of it: both may hold a part of the password.
func badURL(s settings, key, want string) error {
	return usagef(nil, "%s: want %s; in a URL, write special characters of the password as %%XX", s.origin(key).from, want)
}

func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, connectTimeout)
}
