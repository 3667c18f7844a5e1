package main

import (
	"bufio"
	"bytes"
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

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// patience bounds the wait for a condition.
const patience = 20 * time.Second

// demoProcess is outbox-dev demo with a temporary folder of its own, which also identifies its processes.
func demoProcess(t *testing.T, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "outbox-demo-test-") // not t.TempDir: user postgres must be able to enter
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd = exec.Command(self, append([]string{"demo"}, args...)...)
	cmd.Args[0] = "outbox-dev"
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	return cmd, dir
}

// left returns an error if the folder has files, or a process has it in its environment.
func left(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s still holds %v", dir, entries)
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range environs {
		if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, []byte("TMPDIR="+dir)) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			return fmt.Errorf("still running: %s", bytes.ReplaceAll(command, []byte{0}, []byte{' '}))
		}
	}
	return nil
}

// A demo that is interrupted or killed under load leaves no file and no process.
func TestDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"interrupted": syscall.SIGINT, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd, dir := demoProcess(t, "--duration", "60s", "--rate", "50", "--readers", "1")
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var output strings.Builder
			lines := bufio.NewScanner(stderr)
			for lines.Scan() && !strings.Contains(lines.Text(), "commits ") {
				fmt.Fprintln(&output, lines.Text())
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(stderr)
			if err != nil {
				t.Fatal(err)
			}
			output.Write(rest)
			ended, ok := errors.AsType[*exec.ExitError](cmd.Wait())
			if !ok {
				t.Fatalf("it ended with 0: %s", output.String())
			}
			if signal == syscall.SIGINT && (ended.ExitCode() != exit.Failed || !strings.Contains(output.String(), "interrupted")) {
				t.Errorf("%v: %s", ended, output.String())
			}
			devtest.Eventually(t, patience, "nothing left", func() error { return left(dir) })
		})
	}
}

// The demo uses servers that are given, does not stop them, and removes what it created there.
func TestDemoOnGivenServers(t *testing.T) {
	t.Parallel()
	cmd, dir := demoProcess(t, "--duration", "6s", "--rate", "100", "--readers", "1",
		"--database-url", devtest.Postgres(t).URL(), "--nats-url", devtest.NATS(t).URL(), "--redis-url", devtest.Redis(t).URL())
	var output bytes.Buffer
	cmd.Stderr = &output
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, output.String())
	}
	for _, want := range []string{"Every promise was kept.", "the broker was given by URL and not touched", "Try this next:"} {
		if !strings.Contains(strings.Join(strings.Fields(string(out)), " "), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if err := left(dir); err != nil {
		t.Error(err)
	}
	var schemas int
	err = devtest.Pool(t).QueryRow(t.Context(), "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'outbox\\_demo\\_%'").Scan(&schemas)
	if err != nil || schemas != 0 {
		t.Errorf("%d schemas left, %v", schemas, err)
	}
	js, err := jetstream.New(devtest.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(t.Context()).Name() {
		if strings.HasPrefix(name, "OUTBOX_DEMO_") {
			t.Errorf("stream %s left", name)
		}
	}
	keys, err := devtest.RedisClient(t).Keys(t.Context(), "outbox_demo_*").Result()
	if err != nil || len(keys) != 0 {
		t.Errorf("keys %v left, %v", keys, err)
	}
}
