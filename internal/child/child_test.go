package child_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
)

// roleEnv makes this test binary a child of a test.
const roleEnv = "CHILD_TEST_ROLE"

const grace = 30 * time.Second

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		os.Exit(m.Run())
	case "obedient": // ends on SIGTERM
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM)
		fmt.Println("ready")
		<-ended
	case "stubborn": // ignores SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		select {}
	case "parent": // starts a child that inherits its output, and never ends
		if _, err := child.Start(command("stubborn", os.Stdout), syscall.SIGKILL); err != nil {
			fmt.Println(err)
		}
		select {}
	}
}

func command(role string, out io.Writer) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	cmd.Stdout = out
	return cmd
}

// start starts this binary in a role and returns it when it is ready.
func start(t *testing.T, role string) *child.Process {
	t.Helper()
	ready := make(chan struct{}, 1)
	p, err := child.Start(command(role, &child.Output{OnLine: func([]byte) { ready <- struct{}{} }}), syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	select {
	case <-ready:
	case <-time.After(grace):
		t.Fatalf("%s was not ready within %s", role, grace)
	}
	return p
}

func TestStopEndsAProcessInOrder(t *testing.T) {
	p := start(t, "obedient")
	if p.Ended() {
		t.Fatal("the process ended before it was stopped")
	}
	if err := p.Stop(grace); err != nil || !p.Ended() || p.State().ExitCode() != 0 {
		t.Errorf("Stop = %v, exit code %d; want nil and 0", err, p.State().ExitCode())
	}
	if err := p.Stop(grace); err != nil {
		t.Errorf("a second Stop = %v; want nil", err)
	}
}

func TestStopKillsAProcessThatIgnoresIt(t *testing.T) {
	p := start(t, "stubborn")
	if err := p.Stop(time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") || !p.Ended() {
		t.Errorf("Stop = %v, ended: %v; want an error and the end", err, p.Ended())
	}
}

func TestKill(t *testing.T) {
	p := start(t, "stubborn")
	p.Kill()
	if exit, ok := errors.AsType[*exec.ExitError](p.Wait()); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("Wait = %v; want the end by SIGKILL", p.Wait())
	}
	p.Kill() // has no effect
}

func TestStartOfAMissingProgram(t *testing.T) {
	if _, err := child.Start(exec.Command("/nowhere/program"), syscall.SIGKILL); err == nil || !strings.Contains(err.Error(), "/nowhere/program") {
		t.Errorf("Start = %v; want an error that names the program", err)
	}
}

func TestOutputKeepsTheEnd(t *testing.T) {
	out := &child.Output{Keep: 10}
	fmt.Fprint(out, "forgotten, ")
	mark := out.Mark()
	fmt.Fprint(out, "ab ab\n")
	if got := out.String(); got != "en, ab ab\n" {
		t.Errorf("kept %q", got)
	}
	if got := out.Since(mark); got != "ab ab\n" {
		t.Errorf("Since = %q", got)
	}
	fmt.Fprint(out, "0123456789")
	if got := out.Since(mark); got != "0123456789" {
		t.Errorf("Since a mark that is no longer kept = %q", got)
	}
	fmt.Fprint(out, "the end \n")
	if got := out.Tail(); got != "9the end" {
		t.Errorf("Tail = %q", got)
	}
}

func TestOutputPassesLines(t *testing.T) {
	var lines []string
	out := &child.Output{OnLine: func(line []byte) { lines = append(lines, string(line)) }}
	for _, part := range []string{"on", "e\ntwo\n\nthr", "ee\n" + strings.Repeat("x", 5000), "y\nincomplete"} {
		fmt.Fprint(out, part)
	}
	if want := []string{"one", "two", "", "three", strings.Repeat("x", 4096)}; !slices.Equal(lines, want) {
		t.Errorf("lines %q, want %q", lines, want)
	}
}

func TestEnvironLeavesOutSettings(t *testing.T) {
	t.Setenv("OUTBOX_STREAM", "ELSEWHERE")
	t.Setenv("CHILD_TEST_KEPT", "1")
	env := child.Environ("OUTBOX_SCHEMA=own")
	if slices.Contains(env, "OUTBOX_STREAM=ELSEWHERE") || !slices.Contains(env, "CHILD_TEST_KEPT=1") || !slices.Contains(env, "OUTBOX_SCHEMA=own") {
		t.Errorf("environment %q", env)
	}
}
