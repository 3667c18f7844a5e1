package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tools are programs built once for all scenarios.
type tools struct {
	once   sync.Once
	dir    string
	err    error
	pack   string
	flags  []string
	output string
}

var (
	outboxTool = tools{pack: "github.com/seed-6eff6314/outbox-relay/cmd/outbox", flags: []string{"-tags", "crashpoints"}, output: "outbox"}
	natsTool   = tools{pack: "github.com/nats-io/nats-server/v2", output: "nats-server"}
)

func (b *tools) path(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "outbox-faults"); b.err != nil {
			return
		}
		args := append(append([]string{"build", "-o", filepath.Join(b.dir, b.output)}, b.flags...), b.pack)
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			b.err = fmt.Errorf("build %s: %w: %s", b.pack, err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return filepath.Join(b.dir, b.output)
}

func (b *tools) remove() { _ = os.RemoveAll(b.dir) }

// program is a process of ours. It ends with the scenario, or with the test binary however that ends.
type program struct {
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; result is set then
	log  tail
	code int
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if over := l.text.Len() - 64<<10; over > 0 {
		l.text.Next(over)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs a program with these variables beside our own.
func start(t testing.TB, env []string, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // the signal comes when the thread that started the process ends
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if started <- err; err == nil {
			_ = p.cmd.Wait() // the code says it
			p.code = p.cmd.ProcessState.ExitCode()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.signal(syscall.SIGCONT)
		p.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(args, " "), p.log.String())
		}
	})
	return p
}

// name is what --name says.
func (p *program) name() string {
	for i, arg := range p.cmd.Args {
		if arg == "--name" {
			return p.cmd.Args[i+1]
		}
	}
	return ""
}

func (p *program) signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(s) // it may end just now
	}
}

// kill is kill -9, and waits for the end.
func (p *program) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// ended waits until the program ends by itself, and returns its exit code: -1 for a signal.
func (p *program) ended(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("still running after %v:\n%s", within, p.log.String())
	}
	return p.code
}

// relay starts outbox relay. crash is where it kills itself: point:n.
func (s *scene) relay(name, crash string, flags ...string) *program {
	s.t.Helper()
	args := append([]string{"relay", "--schema", s.table.Schema(), "--stream", s.stream, "--subjects", s.stream + ".>",
		"--name", name, "--ack-wait", "1s"}, flags...)
	return s.outbox(crash, args...)
}

// invalidator starts outbox invalidate.
func (s *scene) invalidator(crash string, flags ...string) *program {
	s.t.Helper()
	s.cached = true
	return s.outbox(crash, append([]string{"invalidate", "--stream", s.stream, "--rules", s.rules, "--ack-wait", "1s"}, flags...)...)
}

func (s *scene) outbox(crash string, args ...string) *program {
	s.t.Helper()
	env := []string{"DATABASE_URL=" + s.databaseURL, "NATS_URL=" + s.natsURL, "REDIS_URL=" + s.redURL}
	if crash != "" {
		env = append(env, "OUTBOX_CRASH="+crash)
	}
	return start(s.t, env, outboxTool.path(s.t), args...)
}
