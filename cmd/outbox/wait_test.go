package main

import (
	"bufio"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

// With --wait, the program waits for a database that starts later, and logs that it waits.
func TestProgramWaits(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(devtest.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultnet.Listen(at.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	proxy.Refuse()
	at.Host = proxy.Addr()
	cmd := program{t, []string{"OUTBOX_DATABASE_URL=" + at.String()}}.command("migrate", "status", "--wait", "20s", "--schema", devtest.Schema(t))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	if !lines.Scan() || !strings.Contains(lines.Text(), "server not available, retrying") {
		t.Errorf("it logs %q", lines.Text())
	}
	proxy.Heal()
	var rest strings.Builder
	for lines.Scan() {
		fmt.Fprintln(&rest, lines.Text())
	}
	_ = cmd.Wait()                                                  // its code is asked for
	if code := cmd.ProcessState.ExitCode(); code != exit.Findings { // all migrations are pending
		t.Errorf("exit code %d, want %d: %s", code, exit.Findings, &rest)
	}
}
