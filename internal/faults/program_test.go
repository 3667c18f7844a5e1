package faults

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
)

// A tool is a program that is built once for all scenarios.
type tool struct {
	pack  string
	flags []string

	once    sync.Once
	dir     string
	program string
	err     error
}

var (
	outboxTool = tool{pack: "github.com/seed-6eff6314/outbox-relay/cmd/outbox", flags: []string{"-tags", "crashpoints"}}
	natsTool   = tool{pack: "github.com/nats-io/nats-server/v2"}
)

// path builds the tool if that has not happened yet, and returns the path of the program.
func (b *tool) path(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "outbox-faults"); b.err == nil {
			b.program, b.err = child.Build(context.Background(), b.dir, b.pack, b.flags...)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.program
}

func (b *tool) remove() { _ = os.RemoveAll(b.dir) }

// A program is a child process. It ends with the test, or when the test binary dies.
type program struct {
	*child.Process
	t    testing.TB
	args []string
	log  child.Output
}

// start starts a program with env in addition to the environment of the test.
func start(t testing.TB, env []string, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, args: args}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	var err error
	if p.Process, err = child.Start(cmd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill() // ends a stopped program (SIGSTOP) too
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(args, " "), p.log.String())
		}
	})
	return p
}

// name returns the value of the program's flag --name.
func (p *program) name() string {
	for i, arg := range p.args {
		if arg == "--name" {
			return p.args[i+1]
		}
	}
	return ""
}

// signal sends a signal. It does nothing if the program has exited.
func (p *program) signal(s syscall.Signal) { _ = p.Signal(s) }

// exited waits until the program exits by itself, and returns its exit code: -1 after a signal.
func (p *program) exited(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(within):
		p.t.Fatalf("the program is still running after %v:\n%s", within, p.log.String())
	}
	return p.State().ExitCode()
}

// wantExit waits until the program exits by itself, and requires an exit code and a text in its log.
func (p *program) wantExit(within time.Duration, code int, text string) {
	p.t.Helper()
	if got := p.exited(within); got != code || !strings.Contains(p.log.String(), text) {
		p.t.Errorf("outbox %s exited with %d, want %d and %q in its log:\n%s", p.args[0], got, code, text, p.log.String())
	}
}

// memory returns the highest resident memory of a running program so far, in MiB. It returns 0 if the program has
// exited.
func (p *program) memory() int { return peakMemory(p.PID()) }

func peakMemory(pid int) (mib int) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // the process may have exited
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, _ = fmt.Sscan(rest, &mib)
	return mib >> 10
}

// maxMemory is the memory that relay and invalidator may use at their peak, in MiB.
const maxMemory = 150

// checkMemory requires that the programs are running and used at most maxMemory, and returns what they used.
func checkMemory(t *testing.T, programs ...*program) (mib []int) {
	t.Helper()
	for _, p := range programs {
		used := p.memory()
		if mib = append(mib, used); used == 0 || used > maxMemory {
			t.Errorf("outbox %s used %d MiB, want more than 0 and at most %d", p.args[0], used, maxMemory)
		}
	}
	return mib
}

// startRelay starts outbox relay. crash, if not empty, is the point at which it kills itself: point:n.
func (s *scenario) startRelay(name, crash string, flags ...string) *program {
	s.t.Helper()
	args := append([]string{"relay", "--schema", s.table.Schema(), "--stream", s.stream, "--subjects", s.stream + ".>",
		"--name", name, "--ack-wait", "1s"}, flags...)
	return s.startOutbox(crash, args...)
}

// startInvalidator starts outbox invalidate. crash, if not empty, is the point at which it kills itself: point:n.
func (s *scenario) startInvalidator(crash string, flags ...string) *program {
	s.t.Helper()
	s.cached = true
	return s.startOutbox(crash, append([]string{"invalidate", "--stream", s.stream, "--rules", s.rules, "--ack-wait", "1s"}, flags...)...)
}

func (s *scenario) startOutbox(crash string, args ...string) *program {
	s.t.Helper()
	return start(s.t, s.env(crash), outboxTool.path(s.t), args...)
}

// env returns the environment variables for the outbox program.
func (s *scenario) env(crash string) []string {
	env := []string{"DATABASE_URL=" + s.databaseURL, "NATS_URL=" + s.natsURL, "REDIS_URL=" + s.redURL}
	if crash != "" {
		env = append(env, "OUTBOX_CRASH="+crash)
	}
	return env
}

// awaitCrash waits until a program that was started with a crash point has killed itself.
func (s *scenario) awaitCrash(p *program) {
	s.t.Helper()
	if code := p.exited(60 * time.Second); code != -1 {
		s.t.Fatalf("outbox %s exited with %d, want a crash:\n%s", p.args[0], code, p.log.String())
	}
	s.row.faults++
}

// awaitLog calls do and waits until the program has logged a text after that call began.
func (s *scenario) awaitLog(p *program, text string, do func()) {
	s.t.Helper()
	mark := p.log.Mark()
	do()
	s.eventually(60*time.Second, fmt.Sprintf("%q in the log", text), func(context.Context) error {
		if log := p.log.Since(mark); !strings.Contains(log, text) {
			return fmt.Errorf("log:\n%s", log)
		}
		return nil
	})
}
