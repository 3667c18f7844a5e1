package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

// Each command refuses another machine before it connects, names the safe way, and ends with a usage error.
func TestOtherMachinesAreRefused(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - {subject: a.>, keys: [a]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const plaintext, unverified = "the connection is not encrypted", "the server is not verified"
	const database, broker, cache = "postgres://app@postgres/x", "nats://nats:4222", "redis://redis:6379"
	for _, c := range []struct{ line, from, way string }{
		{"migrate up --database-url " + database, `flag --database-url: "postgres" is another machine and ` + plaintext, "sslmode=verify-full"},
		{"migrate status --database-url " + database, "flag --database-url", "--insecure"},
		{"attach --list --database-url " + database, "flag --database-url", "--insecure"},
		{"attach --table a --subject a.{id} --database-url " + database, "flag --database-url", "--insecure"},
		{"detach --table a --database-url " + database, "flag --database-url", "--insecure"},
		{"status --database-url " + database + "?sslmode=require", unverified, "--database-ca"},
		{"doctor --skip nats,redis --database-url " + database, "flag --database-url", "--insecure"},
		{"doctor --skip postgres,redis --nats-url " + broker, `flag --nats-url: "nats" is another machine and ` + plaintext, "tls://"},
		{"doctor --skip postgres,nats --redis-url " + cache, `flag --redis-url: "redis" is another machine and ` + plaintext, "rediss:"},
		{"doctor --skip postgres,nats --redis-url rediss-cluster://127.0.0.1:1,redis?skip_verify=true", unverified, "--redis-ca"},
		{"relay --subjects a.> --database-url " + database, "flag --database-url", "--insecure"},
		{"relay --subjects a.> --database-url postgres://127.0.0.1:1/x --nats-url " + broker, "flag --nats-url", "--insecure"},
		{"invalidate --nats-url " + broker + " --rules " + rules, "flag --nats-url", "--insecure"},
		{"invalidate --redis-url " + cache + " --rules " + rules, "flag --redis-url", "--insecure"},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			code, out := program{t, nil}.run(strings.Fields(c.line)...)
			if code != exit.Usage || !strings.Contains(out, c.from) || !strings.Contains(out, c.way) {
				t.Errorf("exit code %d: %s", code, out)
			}
		})
	}
	if code, out := (program{t, []string{"PGHOST=postgres"}}).run("migrate", "up"); code != exit.Usage || !strings.Contains(out, `PG* variables: "postgres" is another machine`) {
		t.Errorf("by PGHOST: %d: %s", code, out)
	}
}
