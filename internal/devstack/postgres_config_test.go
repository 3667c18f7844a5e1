package devstack_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// HBA decides for all roles but postgres, with TLS and without.
func TestPostgresAccess(t *testing.T) {
	t.Parallel()
	files := devtest.TLS(t)
	p := devtest.OwnPostgres(t, devstack.PostgresConfig{
		HBA: []string{"hostssl template1 app 127.0.0.1/32 cert", "hostssl postgres app 127.0.0.1/32 scram-sha-256"},
		TLS: files,
	})
	if err := execute(t, p.URL(), "create role app login password 'secret'"); err != nil {
		t.Fatal(err)
	}
	as := func(user, database string) string {
		return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s", user, p.Port(), database)
	}
	verified := "?sslmode=verify-full&sslrootcert=" + files.CA
	withCert := verified + "&sslcert=" + files.Cert + "&sslkey=" + files.Key
	for url, refused := range map[string]bool{
		as("app:secret", "postgres"+verified):           false,
		as("app:wrong", "postgres"+verified):            true,
		as("app:secret", "postgres?sslmode=disable"):    true,
		as("app", "template1"+withCert):                 false,
		as("app", "template1"+verified):                 true,
		as("other", "postgres"+withCert):                true,
		as("postgres:any", "template1?sslmode=disable"): false,
		as("postgres:any", "template1"+verified):        false,
	} {
		if _, err := query(t, url, "select 'in'"); (err != nil) != refused {
			t.Errorf("%s: %v", url, err)
		}
	}

	standby := devtest.OwnStandby(t, p) // has the same doors
	wantQuery(t, standby.URL(), "select count(*)::text from pg_hba_file_rules where auth_method = 'cert'", "1")
}

// A table that may not grow stops inserts and nothing else.
func TestPostgresFileSizeLimit(t *testing.T) {
	t.Parallel()
	p := devtest.OwnPostgres(t, devstack.PostgresConfig{FileSizeLimit: 16 << 20})
	if err := execute(t, p.URL(), "create table filler (v text); alter table filler alter v set storage plain"); err != nil {
		t.Fatal(err)
	}
	fill := "insert into filler select repeat('x', 4000) from generate_series(1, 10000)"
	for range 2 {
		var failure *pgconn.PgError
		if err := execute(t, p.URL(), fill); !errors.As(err, &failure) || failure.Severity != "ERROR" {
			t.Fatalf("40 MB in a table of 16: %v", err)
		}
	}
	if err := execute(t, p.URL(), "create table other as select 'fits' as v"); err != nil {
		t.Error(err)
	}
	if err := execute(t, p.URL(), "truncate filler; insert into filler values ('fits again')"); err != nil {
		t.Error(err)
	}
	wantQuery(t, p.URL(), "select v from filler", "fits again")
}

func TestPostgresConfigErrors(t *testing.T) {
	t.Parallel()
	for text, cfg := range map[string]devstack.PostgresConfig{
		"FileSizeLimit":  {FileSizeLimit: 1 << 20},
		"Cert and Key":   {TLS: devstack.TLSFiles{Cert: "x"}},
		"copy TLS files": {TLS: devstack.TLSFiles{Cert: "/nowhere/x", Key: "/nowhere/y"}},
	} {
		if _, err := devstack.StartPostgres(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("want %q in %v", text, err)
		}
	}
}
