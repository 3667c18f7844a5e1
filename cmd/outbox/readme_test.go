package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// The commands of the README's five minutes and of the roles in docs/security.md run as printed, in their order in one
// shell, on servers of their own. Between commands the test waits, as a person would, until earlier ones have taken
// effect.
func TestDocumentsRunAsPrinted(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "outbox")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, bin); err != nil {
		t.Fatal(err)
	}
	pg := devtest.OwnPostgres(t, devstack.PostgresConfig{Fsync: true}) // doctor requires it
	psql, err := pg.Bin("psql")
	if err != nil {
		t.Fatal(err)
	}
	sh := startShell(t, "DATABASE_URL="+pg.URL(), "NATS_URL="+devtest.OwnNATS(t).URL(), "REDIS_URL="+devtest.OwnRedis(t).URL(),
		"PATH="+filepath.Dir(psql)+string(os.PathListSeparator)+os.Getenv("PATH"))
	settled := func() {
		t.Helper()
		devtest.Eventually(t, patience, "everything published and consumed", func() error { return sh.settled(bin) })
	}
	wants := map[string]string{
		"SELECT outbox.enqueue":      "(1 row)",
		"go run ./insert":            "inserted [",
		"attach --table":             "attached users",
		"go run ./consume":           `3 users.42.updated {"id": 42, "name": "Grace"}`,
		"invalidate --explain":       "user:42:profile",
		"SET user:42:profile":        "OK",
		"FROM outbox.trail":          "(4 rows)",
		"doctor":                     "ok  redis",
		"outbox audit":               "clean",
		"outbox replay":              "would copy 4 events",
		"outbox backfill":            "inserted 1",
		"roles apply":                "applied",
		"roles status":               "outbox_owner",
		"cat testdata/rules":         "users.*.updated",
		"UPDATE users SET name = 'B": "UPDATE 1",
	}
	ran, checked := 0, make(map[string]bool)
	for _, line := range append(commandsOf(t, "README.md", "Five minutes"), commandsOf(t, "docs/security.md", "Least rights")...) {
		switch {
		case line == "make build", strings.HasPrefix(line, ". "):
			continue // the test binary is the program, and the servers are given
		case strings.Contains(line, "consume"), strings.Contains(line, "trail"), strings.Contains(line, "audit"), strings.Contains(line, " GET "):
			settled()
		}
		out := sh.run(strings.ReplaceAll(line, "bin/outbox", bin))
		ran++
		for part, want := range wants {
			if !strings.Contains(line, part) {
				continue
			}
			if checked[part] = true; !strings.Contains(out, want) {
				t.Errorf("%s\nprinted %s\nwant %q", line, out, want)
			}
		}
		if strings.Contains(line, " GET ") && strings.TrimSpace(out) != "" {
			t.Errorf("%s\nprinted %q: the key is still there", line, out)
		}
	}
	for part := range wants {
		if !checked[part] {
			t.Errorf("no command with %q", part)
		}
	}
	if ran < 15 {
		t.Errorf("%d commands found in the README, want more", ran)
	}
	sh.run("wait")
}

// commandsOf returns the indented lines of a section of a document.
func commandsOf(t *testing.T, document, title string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", document))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+title+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !ok {
		t.Fatalf("%s has no section %q", document, title)
	}
	for line := range strings.Lines(section) {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			lines = append(lines, strings.TrimSpace(command))
		}
	}
	return lines
}

// shell is a bash in the root of the repository, with job control for what runs in the background.
type shell struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
	env []string
	n   int
}

func startShell(t *testing.T, env ...string) *shell {
	t.Helper()
	cmd := exec.Command("bash", "-m")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), env...)
	cmd.Env = append(cmd.Env, "PSQL_PAGER=cat", "GOFLAGS=")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if !testing.Verbose() {
		cmd.Stderr = nil
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = io.WriteString(in, "kill $(jobs -p) 2>/dev/null; wait; exit\n")
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("bash: %v", err)
		}
	})
	return &shell{t: t, in: in, out: bufio.NewReader(out), env: cmd.Env}
}

// run runs one line and returns what it printed; it fails the test if the line does not end with 0.
func (s *shell) run(line string) string {
	s.t.Helper()
	s.n++
	mark := fmt.Sprintf("--- line %d ended with ", s.n)
	if _, err := fmt.Fprintf(s.in, "%s\nstatus=$?; echo; echo '%s'$status\n", line, mark); err != nil {
		s.t.Fatal(err)
	}
	var out strings.Builder
	for {
		text, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %v\n%s", line, err, out.String())
		}
		if code, ok := strings.CutPrefix(text, mark); ok {
			if strings.TrimSpace(code) != "0" {
				s.t.Errorf("%s\nended with %s%s", line, code, out.String())
			}
			return out.String()
		}
		out.WriteString(text)
	}
}

// settled asks status.
func (s *shell) settled(bin string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "status", "-o", "json")
	cmd.Env = s.env
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var status statusJSON
	if err := json.Unmarshal(out, &status); err != nil {
		return err
	}
	if status.Pending != 0 || status.Published == 0 {
		return fmt.Errorf("%d pending, %d published", status.Pending, status.Published)
	}
	for _, c := range status.Consumers {
		if c.Name == "invalidate-now" && (c.Pending > 0 || c.AckPending > 0) {
			return fmt.Errorf("consumer %s has %d pending and %d not acknowledged", c.Name, c.Pending, c.AckPending)
		}
	}
	return nil
}
