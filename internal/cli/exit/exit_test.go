package exit

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

	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

func TestExitCodes(t *testing.T) {
	refused := &pgconn.PgError{Code: sqlstate.InvalidPassword}
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, 0},
		{"any error", errors.New("x"), Failed},
		{"usage", Usagef(nil, "x"), Usage},
		{"wrapped usage", fmt.Errorf("load: %w", Usagef(nil, "x")), Usage},
		{"usage beside another", errors.Join(errors.New("x"), Usagef(nil, "x")), Usage},
		{"the library's own", cli.Exit("x", 3), Usage},
		{"findings", fmt.Errorf("x: %w", Findingsf("x")), Findings},
		{"server does not answer", fmt.Errorf("x: %w", Unreached(NATS, nats.ErrNoServers)), Unavailable},
		{"database does not answer", fmt.Errorf("x: %w", &pgconn.ConnectError{}), Unavailable},
		{"database shutting down", &pgconn.PgError{Code: sqlstate.AdminShutdown}, Unavailable},
		{"wrong password", Unreached(Postgres, refused), Failed},
		{"wrong password of NATS", Unreached(NATS, nats.ErrAuthorization), Failed},
		{"wrong password of Redis", Unreached(Redis, redisReply("WRONGPASS invalid username-password pair")), Failed},
		{"NATS has no such stream", Unreached(NATS, fmt.Errorf("x: %w", jetstream.ErrStreamNotFound)), Failed},
		{"JetStream has no leader", Unreached(NATS, &jetstream.APIError{Code: 503}), Unavailable},
		{"Redis is loading", Unreached(Redis, redisReply("LOADING Redis is loading the dataset in memory")), Unavailable},
		{"interrupted", Unreached(Postgres, context.Canceled), Failed},
	} {
		if got := Report(&bytes.Buffer{}, "outbox", c.err); got != c.want {
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
		got := Suggest(word, names)
		if want == "" && got != "" || want != "" && got != fmt.Sprintf("; did you mean %q?", want) {
			t.Errorf("Suggest(%q) = %q, want %q", word, got, want)
		}
	}
}

// A hinted error provides its own hint.
type hinted struct{ error }

func (hinted) Hint() string    { return "continue with: x" }
func (h hinted) Unwrap() error { return h.error }

// An error's own hint is the last line, and its cause still decides the exit code.
func TestHintIsLast(t *testing.T) {
	var stderr bytes.Buffer
	code := Report(&stderr, "outbox", fmt.Errorf("job: %w", hinted{Usagef(nil, "x")}))
	if want := "outbox: job: x\nrun: outbox --help\ncontinue with: x\n"; code != Usage || stderr.String() != want {
		t.Errorf("exit code %d, printed %q, want %q", code, &stderr, want)
	}
}

func TestPanicPrintsNoSecrets(t *testing.T) {
	const canary = "cAnAry7391"
	var stderr bytes.Buffer
	redact.Hide("inFile" + canary)
	code := func() (code int) {
		defer Crash(&stderr, "outbox", &code)
		panic(fmt.Errorf("dial postgres://app:%s@h: token inFile%s", canary, canary))
	}()
	if code != Failed || !strings.Contains(stderr.String(), "panic: dial postgres://app:xxxxx@h") || !strings.Contains(stderr.String(), "TestPanicPrintsNoSecrets") {
		t.Errorf("%d: %s", code, &stderr)
	}
	if strings.Contains(stderr.String(), canary) {
		t.Errorf("a panic prints a secret: %s", &stderr)
	}
}
