package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func secretFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// The password of a file wins over that of the URL, with PostgreSQL and with Redis.
func TestPasswordFiles(t *testing.T) {
	t.Parallel()
	pg := devtest.OwnPostgres(t, devstack.PostgresConfig{HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	conn, err := pgx.Connect(t.Context(), pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'right'"); err != nil {
		t.Fatal(err)
	}
	cache := devtest.OwnRedis(t, devstack.RedisConfig{Password: "right"})
	at, err := url.Parse(cache.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"right", "wrong"} {
		file := secretFile(t, password+"\n", 0o600)
		p := program{t, []string{"OUTBOX_DATABASE_URL=" + fmt.Sprintf("postgres://app:wrong@127.0.0.1:%d/postgres", pg.Port()), "OUTBOX_DATABASE_PASSWORD_FILE=" + file,
			"OUTBOX_REDIS_URL=redis://:wrong@" + at.Host, "OUTBOX_REDIS_PASSWORD_FILE=" + file}}
		for _, server := range []string{exit.Postgres, exit.Redis} {
			state, evidence, code := p.reach(server)
			if (state == stateOK) != (password == "right") || password == "wrong" && code != exit.Findings {
				t.Errorf("%s with the %s password: %s, %s, exit code %d", server, password, state, evidence, code)
			}
		}
	}
}
