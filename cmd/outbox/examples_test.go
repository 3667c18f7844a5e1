package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/app"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// An example is a line of the help of a command that a person can copy.
type example struct {
	path string // of the command whose help has it
	line string
	leaf bool
}

// examples returns the examples of all commands.
func examples() (all []example) {
	walk("outbox", newApp().Commands, func(path string, c *cli.Command) {
		inside := false
		for line := range strings.Lines(c.Description) {
			line = strings.TrimRight(line, "\n")
			switch {
			case line == "Example:" || line == "Examples:":
				inside = true
			case inside && strings.HasPrefix(line, "  "):
				all = append(all, example{path, strings.TrimSpace(line), len(c.Subcommands) == 0})
			case line != "":
				inside = false
			}
		}
	})
	return all
}

// exampleFiles are valid files with the names that examples use.
var exampleFiles = map[string]string{
	"outbox.yaml": setting.InitialFile(),
	"rules.yaml": `rules:
  - subject: users.*.updated
    keys: ["user:$1"]
    tags: ["group:users"]
  - subject: imports.>
    headers: true
`,
	"examples.yaml": `examples:
  - name: a user
    subject: users.42.updated
    keys: ["user:42"]
    tags: ["group:users"]
`,
}

// inFolder creates a folder with these files, for the examples to run in.
func inFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range exampleFiles {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// otherTools replaces the programs that examples pipe to or from.
const otherTools = `
	for tool in psql jq man gzip tee head sudo kubectl crontab; do eval "$tool() { cat >/dev/null; }"; done
	jq() { cat >/dev/null; } ; man() { :; }
	cat() { while IFS= read -r _; do :; done; }
`

// A shell accepts each example, its command and flags exist, and its values are valid. Each command has an example in
// its own help.
func TestExamplesAreTaken(t *testing.T) {
	t.Parallel()
	folder := inFolder(t)
	has := make(map[string]bool)
	for _, e := range examples() {
		t.Run(e.line, func(t *testing.T) {
			calls := recordedCalls(t, folder, e.line)
			if len(calls) == 0 {
				t.Fatal("it does not call outbox")
			}
			for _, args := range calls {
				path, err := parseOnly(folder, args)
				if err != nil {
					t.Errorf("in the help of %s: %v", e.path, err)
				}
				has[path] = has[path] || path == e.path
			}
		})
	}
	walk("outbox", newApp().Commands, func(path string, c *cli.Command) {
		if len(c.Subcommands) == 0 && !has[path] {
			t.Errorf("%s has no example of its own in its help", path)
		}
	})
}

// recordedCalls returns the arguments of each call of outbox that a shell makes for a line.
func recordedCalls(t *testing.T, folder, line string) (calls [][]string) {
	t.Helper()
	record := filepath.Join(t.TempDir(), "calls")
	bash := exec.Command("bash", "--norc", "-c", otherTools+`outbox() { printf '%s\0' "$@" $'\n' >> "$RECORD"; }
		set -eo pipefail; eval "$LINE"`)
	bash.Dir = folder
	bash.Env = []string{"RECORD=" + record, "LINE=" + line, "PATH=/nowhere", "USER=ada", "HOME=" + folder}
	if out, err := bash.CombinedOutput(); err != nil {
		t.Fatalf("bash: %v: %s", err, out)
	}
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	for call := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n\x00"), "\n\x00") {
		calls = append(calls, strings.Split(strings.TrimSuffix(call, "\x00"), "\x00"))
	}
	return calls
}

// parseOnly parses a command line without running the command.
func parseOnly(folder string, args []string) (path string, err error) {
	outbox := newApp()
	outbox.Writer, outbox.ErrWriter = &bytes.Buffer{}, &bytes.Buffer{}
	walk("outbox", outbox.Commands, func(at string, c *cli.Command) {
		if len(c.Subcommands) == 0 {
			c.Action = app.Leaf(func(c *cli.Context) error { path = at; return checkGiven(c, folder) })
		}
	})
	err = outbox.RunContext(context.Background(), append([]string{"outbox"}, args...))
	if err == nil && path == "" {
		err = errors.New("no command was reached")
	}
	return path, err
}

// checkGiven checks the values of flags that can be checked without running the command.
func checkGiven(c *cli.Context, folder string) error {
	for _, name := range c.LocalFlagNames() {
		value := c.String(name) // empty if it is not a text, which the library has checked
		var wrong error
		for _, s := range setting.All() {
			if s.Name() == name {
				if wrong = s.Check(value); wrong == nil {
					break
				}
			}
		}
		if name == "config" && !filepath.IsAbs(value) {
			_, wrong = setting.ReadFile(filepath.Join(folder, value), os.LookupEnv)
		}
		if name == "output" {
			wrong = setting.OneOf("table", "json", "nagios", "prometheus")(value)
		}
		if wrong != nil {
			return fmt.Errorf("--%s %q: %w", name, value, wrong)
		}
	}
	return nil
}

// runnable are the commands whose examples are also run on real servers, and the exit codes that are valid there: an
// outbox without a relay, a stream or dead letters. Other commands run indefinitely.
var runnable = map[string][]int{
	"outbox migrate up": {0}, "outbox migrate status": {0}, "outbox migrate print": {0}, "outbox adopt": {0, 1}, "outbox roles print": {0}, "outbox roles apply": {0},
	"outbox roles status": {0, 3}, "outbox attach": {0}, "outbox detach": {0}, "outbox pause": {0, 1}, "outbox resume": {0, 1}, "outbox rules check": {0}, "outbox rules explain": {0},
	"outbox rules test": {0}, "outbox rules schema": {0}, "outbox sweep": {0}, "outbox partitions": {0}, "outbox prune": {0}, "outbox status": {0}, "outbox check": {2, 3},
	"outbox trace": {3}, "outbox staleness": {1}, "outbox dead list": {0}, "outbox dead show": {1}, "outbox dead replay": {0, 1}, "outbox dead drop": {0, 1}, "outbox doctor": {3},
	"outbox config init": {0}, "outbox config validate": {0}, "outbox config show": {0}, "outbox config schema": {0}, "outbox completion": {0}, "outbox man": {0}, "outbox version": {0},
}

// The examples of commands that end by themselves run on real servers.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	folder, env := inFolder(t), exampleServers(t)
	bin := programFolder(t)
	for _, e := range examples() {
		codes, ok := runnable[e.path]
		if !ok || !e.leaf || strings.Contains(e.line, "://") { // a server that does not exist here
			continue
		}
		bash := exec.CommandContext(t.Context(), "bash", "--norc", "-c", otherTools+`set -o pipefail; eval "$LINE"`)
		bash.Dir = folder
		bash.Env = append(os.Environ(), append(env, "LINE="+e.line, "PATH="+bin)...)
		var stdout, stderr bytes.Buffer
		bash.Stdout, bash.Stderr = &stdout, &stderr
		err := bash.Run()
		if bash.ProcessState == nil {
			t.Fatal(err)
		}
		if code := bash.ProcessState.ExitCode(); !slices.Contains(codes, code) || strings.Contains(stderr.String(), "--help") {
			t.Errorf("%s: exit code %d, want one of %v\n%s%s", e.line, code, codes, &stdout, &stderr)
		}
	}
}

// exampleServers returns the environment of real servers, and a database with the tables that the examples name.
func exampleServers(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	at, err := url.Parse(devtest.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	name := devtest.Schema(t)
	server, err := pgx.Connect(ctx, at.String())
	if err != nil {
		t.Fatal(err)
	}
	do := func(conn *pgx.Conn, statement string) {
		t.Helper()
		if _, err := conn.Exec(ctx, statement, pgx.QueryExecModeExec); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	do(server, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		defer server.Close(ctx)
		if _, err := server.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	at.Path = "/" + name
	conn, err := pgx.Connect(ctx, at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	do(conn, `CREATE TABLE users (id bigint PRIMARY KEY, name text, email text);
		CREATE SCHEMA shop; CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, status text)`)
	stream := devtest.Stream(t)
	noLettersLeft(t, stream)
	env := []string{"OUTBOX_DATABASE_URL=" + at.String(), "OUTBOX_NATS_URL=" + devtest.NATS(t).URL(), "OUTBOX_REDIS_URL=" + devtest.Redis(t).URL(), "OUTBOX_STREAM=" + stream, "USER=ada"}
	return env
}
