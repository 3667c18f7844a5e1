package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
)

// A process is a server program with its folder, guardian and port. It can be stopped and started again. It is safe for
// concurrent use: start, stop and close run one at a time.
type process struct {
	name  string              // such as "postgres"; part of file names and errors
	dir   string              // the server's own folder; close removes it
	user  *syscall.Credential // nil: the user of this process
	abort syscall.Signal      // ends the program immediately
	argv  func(port int) []string
	more  int // number of ports that it needs in addition to port
	// configure writes the configuration for a port before each start; may be nil.
	configure func(port int) error
	// ready returns nil if the server with this port and pid answers, and an error if no server or another one answers.
	ready func(ctx context.Context, port, pid int) error

	mu     sync.Mutex
	guard  *guardian
	port   int            // set by the first successful start
	others []int          // the additional ports, set with port
	child  *child.Process // nil when stopped
	frozen bool           // the child is stopped by SIGSTOP; see freeze
	closed bool
}

// open starts the guardian, which from then on removes the folder if this process dies.
func (p *process) open() error {
	guard, err := startGuardian(p.dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(p.dir))
	}
	p.guard = guard
	return nil
}

// startAnywhere starts the server with free ports. Another program may take a port between the check and the start, so
// startAnywhere tries several times. It must be called, like run, before p is shared with other goroutines.
func (p *process) startAnywhere(ctx context.Context) error {
	for try := 1; ; try++ {
		ports, err := freePorts(1 + p.more)
		if err != nil {
			return err
		}
		p.port, p.others = ports[0], ports[1:]
		err = p.start(ctx)
		if err == nil || try == portTries || !anyTaken(ports) {
			return err
		}
	}
}

// start starts the server with its port and returns when it answers.
func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	if p.child != nil && !p.child.Ended() {
		return errors.New("already running")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if p.configure != nil {
		if err := p.configure(p.port); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	c, err := p.spawn(p.argv(p.port))
	if err != nil {
		return err
	}
	if err := p.awaitReady(ctx, c); err != nil {
		return errors.Join(fmt.Errorf("%w%s", err, p.logTail()), end(c, p.abort), p.guard.forget())
	}
	p.child, p.frozen = c, false
	return nil
}

// run runs an auxiliary program and returns when it has exited.
func (p *process) run(ctx context.Context, argv ...string) error {
	c, err := p.spawn(argv)
	if err != nil {
		return err
	}
	select {
	case <-c.Done():
		err = c.Wait()
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), end(c, syscall.SIGINT))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w%s", filepath.Base(argv[0]), err, p.logTail())
	}
	return errors.Join(err, p.guard.forget())
}

// spawn starts a program and registers it with the guardian.
func (p *process) spawn(argv []string) (*child.Process, error) {
	c, err := startChild(childSpec{argv: argv, dir: p.dir, log: p.logFile(), user: p.user, abort: p.abort})
	if err != nil {
		return nil, err
	}
	if err := p.guard.watch(c.PID()); err != nil {
		return nil, errors.Join(err, end(c, p.abort))
	}
	return c, nil
}

// awaitReady polls until the server answers or exits. The exit of the child also cancels a running check: another
// program that holds the port may accept the connection and never reply.
func (p *process) awaitReady(ctx context.Context, c *child.Process) error {
	check, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.Done():
			cancel()
		case <-check.Done():
		}
	}()
	pause := time.NewTicker(readyPoll)
	defer pause.Stop()
	for {
		err := p.ready(check, p.port, c.PID())
		switch {
		case err == nil:
			return nil
		case c.Ended():
			return fmt.Errorf("the server exited: %s", c.State())
		case ctx.Err() != nil:
			return fmt.Errorf("not ready: %w; last check: %w", context.Cause(ctx), err)
		}
		select {
		case <-check.Done():
		case <-pause.C:
		}
	}
}

// stop ends the server with a signal and keeps its folder. Stopping a stopped server is not an error.
func (p *process) stop(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopLocked(signal)
}

func (p *process) stopLocked(signal syscall.Signal) error {
	if p.child == nil {
		return nil
	}
	err := end(p.child, signal, p.abort)
	p.child = nil
	return errors.Join(err, p.guard.forget())
}

// close stops the server, removes its folder and ends its guardian. It is idempotent.
func (p *process) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	return errors.Join(p.stopLocked(p.abort), unmountAll(p.dir), os.RemoveAll(p.dir), p.guard.release())
}

func (p *process) logFile() string { return filepath.Join(p.dir, p.name+".log") }

// logTail returns the end of the server's log, as text to append to an error.
func (p *process) logTail() string {
	const most = 2000 // bytes
	text, err := os.ReadFile(p.logFile())
	if err != nil || len(text) == 0 {
		return ""
	}
	text = text[max(0, len(text)-most):]
	return "; its log ends with:\n" + strings.TrimSpace(string(text))
}
