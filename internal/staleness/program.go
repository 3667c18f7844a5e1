package staleness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Build makes the program outbox in a folder and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "outbox")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/seed-6eff6314/outbox-relay/cmd/outbox").CombinedOutput() // #nosec G204 -- our own folder
	if err != nil {
		return "", fmt.Errorf("build outbox: %w: %s", err, out)
	}
	return path, nil
}

// A program is a process of ours. It ends with us, however we end.
type program struct {
	cmd  *exec.Cmd
	log  said
	done chan struct{} // closed when it has ended
}

// said keeps what a program writes, the last megabyte at most.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *said) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if over := l.text.Len() - 1<<20; over > 0 {
		l.text.Next(over)
	}
	return len(p), nil
}

// count says how often it said something.
func (l *said) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (l *said) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.String()
	return text[max(0, len(text)-4000):]
}

func startProgram(env []string, path string, args ...string) (*program, error) {
	p := &program{cmd: exec.Command(path, args...), done: make(chan struct{})} // #nosec G204 -- outbox itself
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	dieWithUs(p.cmd)
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // the death signal comes when the thread that started the process ends
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if started <- err; err == nil {
			_ = p.cmd.Wait() // a killed one ends with an error
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	return p, nil
}

// kill is kill -9, and waits for the end.
func (p *program) kill() {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may end just now
	}
	<-p.done
}

// ended returns an error if the program ended by itself.
func (p *program) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("outbox %s ended by itself: %s; it said:\n%s", p.cmd.Args[1], p.cmd.ProcessState, p.log.tail())
	default:
		return nil
	}
}

// await looks until cond returns nil, or returns its last error when ctx ends or after a time.
func await(ctx context.Context, within time.Duration, what string, cond func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		look, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := cond(look)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("await %s: not within %s: %w", what, within, last)
		case <-tick.C:
		}
	}
}
