package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// restartPause is how long the relay is away after kill -9, as a supervisor would wait.
	restartPause = 500 * time.Millisecond
	// stopGrace is how long the relay may take to end in order.
	stopGrace = 8 * time.Second
)

// A relayChild is the relay as a process of its own: outbox relay, with its settings in the environment, so that no
// secret is among its arguments.
type relayChild struct {
	program string
	args    []string
	env     []string

	kills chan chan struct{} // an order to kill, answered when the next one runs
	pid   atomic.Int64
}

func newRelayChild(program string, s *stage) *relayChild {
	env := []string{
		"OUTBOX_DATABASE_URL=" + s.postgres.URL(), "OUTBOX_NATS_URL=" + s.nats.URL(), "OUTBOX_SCHEMA=" + s.schema,
		"OUTBOX_LOG_FORMAT=text",
	}
	return &relayChild{
		program: program,
		args:    []string{"outbox", "relay", "--stream", s.stream, "--subjects", s.subject + ".>", "--name", "demo", "--grace", "3s"},
		env:     append(without(os.Environ(), "OUTBOX_"), env...),
		kills:   make(chan chan struct{}),
	}
}

// without leaves out the variables whose names begin with a prefix.
func without(env []string, prefix string) []string {
	var out []string
	for _, entry := range env {
		if !strings.HasPrefix(entry, prefix) {
			out = append(out, entry)
		}
	}
	return out
}

// Run keeps a relay running until ctx ends, and then ends it in order. A relay that ends by itself is an error.
func (r *relayChild) Run(ctx context.Context) error {
	// The kernel's death signal fires when the starting thread ends, so this thread stays as long as the relay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var restarted chan struct{}
	for {
		cmd, said, err := r.start()
		if err != nil {
			return fmt.Errorf("start relay: %w", err)
		}
		if restarted != nil {
			close(restarted)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			return fmt.Errorf("relay ended by itself (%v); the end of what it said:\n%s", err, said.tail())
		case <-ctx.Done():
			return stop(cmd, ended)
		case restarted = <-r.kills:
			if err := kill(cmd, ended); err != nil {
				return err
			}
		}
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// Kill ends the relay with kill -9 and returns when the next one was started.
func (r *relayChild) Kill(ctx context.Context) error {
	started := make(chan struct{})
	select {
	case r.kills <- started:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-started:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *relayChild) start() (*exec.Cmd, *lines, error) {
	program := r.program
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, err
		}
		program = self
	}
	said := &lines{}
	cmd := exec.Command(program) // #nosec G204 -- ourselves
	cmd.Args = r.args
	cmd.Env = r.env
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches us alone
	dieWithUs(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	r.pid.Store(int64(cmd.Process.Pid))
	return cmd, said, nil
}

// kill is kill -9.
func kill(cmd *exec.Cmd, ended <-chan error) error {
	if err := cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill relay: %w", err)
	}
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
		return fmt.Errorf("kill relay: it ended otherwise: %v", err)
	}
	return nil
}

// stop asks the relay to end and returns when it has.
func stop(cmd *exec.Cmd, ended <-chan error) error {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may just have ended: ended tells
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("stop relay: %w", err)
		}
		return nil
	case <-time.After(stopGrace):
		_ = cmd.Process.Kill()
		<-ended
		return fmt.Errorf("stop relay: it did not heed SIGTERM for %v and was killed", stopGrace)
	}
}
