package demo

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// libpqEnv returns a connection as environment variables of libpq, so that no password is among the arguments of pgbench.
func libpqEnv(connection, schema string) ([]string, error) {
	u, err := url.Parse(connection)
	if err != nil {
		return nil, errors.New("read the URL of PostgreSQL: want postgres://user@host:port/database") // err may contain the password
	}
	config, err := pgx.ParseConfig(connection)
	if err != nil {
		return nil, errors.New("read the URL of PostgreSQL: want postgres://user@host:port/database")
	}
	env := []string{
		"PGHOST=" + config.Host, fmt.Sprintf("PGPORT=%d", config.Port), "PGUSER=" + config.User,
		"PGPASSWORD=" + config.Password, "PGDATABASE=" + config.Database, "PGAPPNAME=pgbench",
		"PGOPTIONS=-c search_path=" + schema, "LC_ALL=C",
	}
	for _, name := range []string{"sslmode", "sslrootcert", "sslcert", "sslkey"} {
		if value := u.Query().Get(name); value != "" {
			env = append(env, "PG"+strings.ToUpper(name)+"="+value)
		}
	}
	return env, nil
}
