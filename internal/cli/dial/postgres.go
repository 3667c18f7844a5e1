package dial

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
)

// Postgres returns a pool that has connected. application names its sessions, unless the URL does.
func Postgres(ctx context.Context, s *setting.Set, application string) (*pgxpool.Pool, error) {
	pool, err := Pool(ctx, s, application)
	if err != nil {
		return nil, err
	}
	err = Await(ctx, s, exit.Postgres, func() error {
		if err := pool.Ping(ctx); err != nil {
			return unreachedPostgres(s, err)
		}
		return nil
	})
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// Pool is Postgres without waiting for a connection.
func Pool(ctx context.Context, s *setting.Set, application string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(s.Text("database_url"))
	if err != nil {
		return nil, badURL(s, "database_url", postgresURL)
	}
	if err := securePostgres(s, &config.ConnConfig.Config); err != nil {
		return nil, err
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = Timeout
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = application
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return pool, nil
}

// unreachedPostgres explains which database was tried where no URL was given.
func unreachedPostgres(s *setting.Set, err error) error {
	if s.Text("database_url") == "" {
		err = fmt.Errorf("neither --database-url nor $DATABASE_URL is set, using the PG* variables and defaults: %w", err)
	}
	return exit.Unreached(exit.Postgres, err)
}

// securePostgres applies the settings beside the URL, which win over it and over the PG* variables.
func securePostgres(s *setting.Set, c *pgconn.Config) error {
	password, err := s.Secret("database_password_file")
	if err != nil {
		return err
	}
	if password != "" {
		c.Password = password
	}
	files, err := tlsFiles(s, "database")
	if err != nil {
		return err
	}
	if files != nil {
		verifyPostgres(c, files)
	}
	return allow(s, "database_url", postgresPeers(c))
}

// verifyPostgres replaces every connection that c may try with one as of sslmode=verify-full. The URL alone may leave
// one without TLS to fall back to.
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
