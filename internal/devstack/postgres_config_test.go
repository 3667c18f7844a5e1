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

// HBA applies to all roles except postgres, with and without TLS.
func TestPostgresAccess(t *testing.T) {
	t.Parallel()
	files := devtest.TLS(t)
	p := devtest.OwnPostgres(t, devstack.PostgresConfig{
		HBA: []string{"hostssl template1 app 127.0.0.1/32 cert", "hostssl postgres app 127.0.0.1/32 scram-sha-256"},
		TLS: files,
	})
	must(t, execute(t, p.URL(), "create role app login password 'secret'"))
	as := func(user, database string) string {
		return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s", user, p.Port(), database)
	}
	verified := "?sslmode=verify-full&sslrootcert=" + files.CA
	withCert := verified + "&sslcert=" + files.Cert + "&sslkey=" + files.Key
	for url, rejected := range map[string]bool{
		as("app:secret", "postgres"+verified):           false,
		as("app:wrong", "postgres"+verified):            true,
		as("app:secret", "postgres?sslmode=disable"):    true,
		as("app", "template1"+withCert):                 false,
		as("app", "template1"+verified):                 true,
		as("other", "postgres"+withCert):                true,
		as("postgres:any", "template1?sslmode=disable"): false,
		as("postgres:any", "template1"+verified):        false,
	} {
		if _, err := query(t, url, "select 'in'"); (err != nil) != rejected {
			t.Errorf("connect to %s: got error %v, want an error: %t", url, err, rejected)
		}
	}

	standby := devtest.OwnStandby(t, p) // uses the same pg_hba.conf
	wantQuery(t, standby.URL(), "select count(*)::text from pg_hba_file_rules where auth_method = 'cert'", "1")
}

// Reaching the file size limit of one table fails inserts into that table only.
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
			t.Fatalf("insert of 40 MB with a limit of 16 MiB: got error %v, want one with severity ERROR", err)
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
			t.Errorf("got error %v, want one that contains %q", err, text)
		}
	}
}
