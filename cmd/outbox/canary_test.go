package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

const canary = "cAnAry7391"

// A program is this test binary as outbox, with an environment of its own.
type program struct {
	t   *testing.T
	env []string
}

func (p program) command(args ...string) *exec.Cmd {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(p.t.Context(), self, args...)
	cmd.Args[0] = "outbox"
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // when the test ends
	cmd.WaitDelay = patience
	cmd.Env = append([]string{"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, p.env...)
	return cmd
}

// run runs a command to its end and returns its exit code and all that it printed.
func (p program) run(args ...string) (code int, out string) {
	p.t.Helper()
	cmd := p.command(args...)
	text, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// background runs a command until the test ends.
func (p program) background(args ...string) {
	p.t.Helper()
	cmd := p.command(args...)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := cmd.Wait(); !errors.Is(err, context.Canceled) && !p.t.Failed() {
			p.t.Errorf("%s: %v", args[0], err)
		}
	})
}

// watch runs a command until it has logged an error and then ends it, and returns all that it printed.
func (p program) watch(args ...string) string {
	p.t.Helper()
	cmd := p.command(args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	var stdout, all bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	overdue := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }) // then the test fails below
	defer overdue.Stop()
	lines := bufio.NewScanner(io.TeeReader(stderr, &all))
	for asked := false; lines.Scan(); {
		if !asked && strings.Contains(lines.Text(), `"err":`) {
			asked = true
			_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if the process has ended
		}
	}
	_ = cmd.Wait() // the exit code does not matter here
	if !strings.Contains(all.String(), `"err":`) {
		p.t.Errorf("%s logged no error:\n%s", strings.Join(args, " "), all.String())
	}
	return stdout.String() + all.String()
}

func (p program) silent(what, out string) {
	p.t.Helper()
	if i := strings.Index(out, canary); i >= 0 {
		p.t.Errorf("%s prints a secret: …%s…", what, out[max(0, i-100):min(len(out), i+len(canary)+20)])
	}
}

// A password is in every setting that can contain one, and never in the output: with servers that do not answer or
// refuse it, and with values that no parser understands.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	password, rules := file("password", canary+"\n"), file("rules.yaml", "rules:\n  - {subject: a.>, keys: [a]}\n")
	pg, broker, cache := refusingServers(t)
	at := func(url, user string) string { return strings.Replace(url, "://", "://"+user+"@", 1) }
	const away = "127.0.0.1:1"
	places := map[string][]string{
		"URLs, away": {"DATABASE_URL=postgres://app:" + canary + "@" + away + "/x", "NATS_URL=nats://app:" + canary + "@" + away, "REDIS_URL=redis://app:" + canary + "@" + away},
		"URLs, refused": {"DATABASE_URL=" + strings.Replace(pg, "://postgres@", "://app:"+canary+"@", 1),
			"NATS_URL=" + at(broker, "app:"+canary), "REDIS_URL=" + at(cache, "app:"+canary)},
		"files, away": {"DATABASE_URL=postgres://app@" + away + "/x", "NATS_URL=nats://" + away, "REDIS_URL=redis://" + away, "OUTBOX_REDIS_USER=app", "OUTBOX_NATS_USER=app",
			"OUTBOX_DATABASE_PASSWORD_FILE=" + password, "OUTBOX_NATS_PASSWORD_FILE=" + password, "OUTBOX_REDIS_PASSWORD_FILE=" + password},
		"files, refused": {"DATABASE_URL=" + strings.Replace(pg, "://postgres@", "://app@", 1), "NATS_URL=" + broker, "REDIS_URL=" + cache,
			"OUTBOX_DATABASE_PASSWORD_FILE=" + password, "OUTBOX_NATS_TOKEN_FILE=" + password, "OUTBOX_REDIS_PASSWORD_FILE=" + password},
		"file of settings":    {"OUTBOX_CONFIG=" + file("outbox.yaml", "database_url: host=127.0.0.1 port=1 password='"+canary+" x'\nnats_url: "+canary+"@"+away+"\nredis_url: redis://:${PW}@"+away+"\n"), "PW=" + canary},
		"variables of libpq":  {"PGHOST=127.0.0.1", "PGPORT=1", "PGPASSWORD=" + canary, "PGSSLPASSWORD=" + canary, "NATS_URL=tls://" + canary + "@" + away, "REDIS_URL=rediss-cluster://:" + canary + "@" + away},
		"wrong URLs":          {"DATABASE_URL=postgres://app:" + canary + "/%@h:port/x", "NATS_URL=nats://app:" + canary + "%zz@h:port", "REDIS_URL=redis://app:" + canary + "/@h:port"},
		"URLs with spaces":    {"DATABASE_URL=postgres://app:a " + canary + "@h/x", "NATS_URL=nats://app:a " + canary + "@h", "REDIS_URL=redis://app:a " + canary + "@h"},
		"no URLs at all":      {"DATABASE_URL=host=h password=a " + canary, "NATS_URL=app:" + canary + "@h:x", "REDIS_URL=app:" + canary + "@h"},
		"another machine":     {"DATABASE_URL=postgres://app:" + canary + "@db/x", "NATS_URL=nats://app:" + canary + "@nats", "REDIS_URL=redis://app:" + canary + "@redis"},
		"files that are none": {"OUTBOX_DATABASE_CA=" + password, "OUTBOX_NATS_NKEY_FILE=" + password, "OUTBOX_REDIS_CERT=" + password, "OUTBOX_REDIS_KEY=" + password, "NATS_URL=nats://" + away, "DATABASE_URL=postgres://" + away},
		"credentials that are none": {"OUTBOX_NATS_CREDS=" + password, "NATS_URL=nats://" + away, "DATABASE_URL=postgres://" + away,
			"OUTBOX_REDIS_PASSWORD_FILE=" + file("two", canary+"\n"+canary+"\n"), "OUTBOX_DATABASE_PASSWORD_FILE=" + file("zero", canary+"\x00")},
		"broken file of settings": {"OUTBOX_CONFIG=" + file("broken.yaml", "stream: A\nredis_url: \"redis://:"+canary+"@h\n")},
		"file of wrong shape":     {"OUTBOX_CONFIG=" + file("shape.yaml", "database_url: {a: postgres://app:"+canary+"@h}\n")},
		"tag in the file":         {"OUTBOX_CONFIG=" + file("tag.yaml", "database_url: !x postgres://app:"+canary+"@h\n")},
		"file cut off":            {"OUTBOX_CONFIG=" + file("cut.yaml", "database_url: 'postgres://app:"+canary+"@h/x\n\tredis_url: x")},
		"key without a blank":     {"OUTBOX_CONFIG=" + file("blank.yaml", "database_url:postgres://app:"+canary+"@h/x\n")},
	}
	for place, env := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			p := program{t, append(env, "OUTBOX_LOG_LEVEL=debug")}
			for _, line := range []string{"config show", "config show -o json", "doctor -o json", "doctor -o table", "status", "status -o json", "migrate up", "attach --list -o json"} {
				_, out := p.run(strings.Fields(line)...)
				p.silent(line, out)
			}
			running := []string{"relay --subjects a.>", "invalidate --rules " + rules}
			for _, line := range running {
				if !strings.HasSuffix(place, "away") && !strings.HasSuffix(place, "refused") {
					code, out := p.run(append(strings.Fields(line), "--listen", "127.0.0.1:x")...) // fails in any case
					p.silent(fmt.Sprintf("%s (%d)", line, code), out)
					continue
				}
				p.silent(line, p.watch(strings.Fields(line)...))
			}
		})
	}
}

// refusingServers are up and refuse the user app with that password.
func refusingServers(t *testing.T) (pg, broker, cache string) {
	t.Helper()
	own := devtest.OwnPostgres(t, devstack.PostgresConfig{HBA: []string{"host all all 127.0.0.1/32 scram-sha-256"}})
	r := devtest.OwnRedis(t)
	secured := redisAt(t, r.URL())
	if err := secured.Do(t.Context(), "ACL", "SETUSER", "default", "resetpass", ">another").Err(); err != nil {
		t.Fatal(err)
	}
	return own.URL(), runNATS(t, &server.Options{Host: "127.0.0.1", Port: -1, Username: "app", Password: "another", NoSigs: true}), r.URL()
}
