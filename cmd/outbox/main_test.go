package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

// Every command tells in --help how it is called, what it does, and an example.
func TestHelpIsComplete(t *testing.T) {
	var walk func(path string, c *cli.Command)
	walk = func(path string, c *cli.Command) {
		path += " " + c.Name
		if c.Usage == "" || strings.Contains(c.Usage, "\n") {
			t.Errorf("%s: usage %q is not one line", path, c.Usage)
		}
		if !strings.HasPrefix(c.UsageText, path) {
			t.Errorf("%s: usage text %q does not begin with the command", path, c.UsageText)
		}
		if _, example, ok := strings.Cut(c.Description, "Example"); !ok || !strings.Contains(example, path) {
			t.Errorf("%s: the description has no example of it", path)
		}
		for _, f := range c.Flags {
			if usage := f.(cli.DocGenerationFlag).GetUsage(); usage == "" {
				t.Errorf("%s: flag %s has no usage", path, f.Names()[0])
			}
		}
		for _, sub := range c.Subcommands {
			walk(path, sub)
		}
	}
	for _, c := range newApp().Commands {
		walk("outbox", c)
	}
}

func TestExitCodes(t *testing.T) {
	refused := &pgconn.PgError{Code: sqlstate.InvalidPassword}
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, 0},
		{"any error", errors.New("x"), exitFailed},
		{"usage", usagef(nil, "x"), exitUsage},
		{"wrapped usage", fmt.Errorf("load: %w", usagef(nil, "x")), exitUsage},
		{"usage beside another", errors.Join(errors.New("x"), usagef(nil, "x")), exitUsage},
		{"the library's own", cli.Exit("x", 3), exitUsage},
		{"findings", fmt.Errorf("x: %w", findings("x")), exitFindings},
		{"server away", fmt.Errorf("x: %w", &serverError{natsServer, nats.ErrNoServers}), exitUnavailable},
		{"database away", fmt.Errorf("x: %w", &pgconn.ConnectError{}), exitUnavailable},
		{"database shutting down", &pgconn.PgError{Code: sqlstate.AdminShutdown}, exitUnavailable},
		{"wrong password", &serverError{postgres, refused}, exitFailed},
		{"wrong password of NATS", &serverError{natsServer, nats.ErrAuthorization}, exitFailed},
		{"wrong password of Redis", &serverError{redisServer, redisReply("WRONGPASS invalid username-password pair")}, exitFailed},
		{"NATS has no such stream", &serverError{natsServer, fmt.Errorf("x: %w", jetstream.ErrStreamNotFound)}, exitFailed},
		{"JetStream has no leader", &serverError{natsServer, &jetstream.APIError{Code: 503}}, exitUnavailable},
		{"Redis is loading", &serverError{redisServer, redisReply("LOADING Redis is loading the dataset in memory")}, exitUnavailable},
		{"interrupted", &serverError{postgres, context.Canceled}, exitFailed},
	} {
		if got := report(&bytes.Buffer{}, c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}

// A redisReply is an error that Redis answered with.
type redisReply string

func (r redisReply) Error() string { return string(r) }
func (redisReply) RedisError()     {}

func TestSuggest(t *testing.T) {
	names := []string{"migrate", "attach", "detach", "relay", "status"}
	for word, want := range map[string]string{"relya": "relay", "migrat": "migrate", "atach": "attach", "frobnicate": "", "x": ""} {
		got := suggest(word, names)
		if want == "" && got != "" || want != "" && got != fmt.Sprintf("; did you mean %q?", want) {
			t.Errorf("suggest(%q) = %q, want %q", word, got, want)
		}
	}
}
