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
)

// A process is a server program with a folder, a guardian and a port. It may be
// stopped and started again. Safe for concurrent use: one start, stop or close at a
// time, the next waits.
type process struct {
	name  string              // "postgres", for files and errors
	dir   string              // own folder, removed by close
	user  *syscall.Credential // nil: as we are
	abort syscall.Signal      // ends it at once
	argv  func(port int) []string
	more  int // further ports that it needs, besides port
	// configure writes what the program reads about its port; nil: nothing.
	configure func(port int) error
	// ready returns nil when the server with this port and pid answers, and an
	// error when nobody does or another server.
	ready func(ctx context.Context, port, pid int) error

	mu     sync.Mutex
	guard  *guardian
	port   int    // fixed by the first start that works
	others []int  // the further ports, fixed with it
	child  *child // nil when stopped
	frozen bool   // the child is; see freeze
	closed bool
}

// open guards the folder, so that it is removed from now on whatever happens.
func (p *process) open() error {
	guard, err := startGuardian(p.dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(p.dir))
	}
	p.guard = guard
	return nil
}

// startAnywhere starts the server on free ports. Another program may take a port
// between our look and the server's, so it tries several. Like run, it is called
// before anyone else has p.
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

// start runs the server on its port and returns when it answers.
func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed
	}
	if p.child != nil && !p.child.ended() {
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
		return errors.Join(fmt.Errorf("%w%s", err, p.logTail()), c.end(p.abort), p.guard.forget())
	}
	p.child, p.frozen = c, false
	return nil
}

// run runs a helper program to its end.
func (p *process) run(ctx context.Context, argv ...string) error {
	c, err := p.spawn(argv)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		err = c.err
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), c.end(syscall.SIGINT))
	}
	if err != nil {
		err = fmt.Errorf("%s: %w%s", filepath.Base(argv[0]), err, p.logTail())
	}
	return errors.Join(err, p.guard.forget())
}

// spawn starts a program under the eyes of the guardian.
func (p *process) spawn(argv []string) (*child, error) {
	c, err := startChild(childSpec{argv: argv, dir: p.dir, log: p.logFile(), user: p.user, abort: p.abort})
	if err != nil {
		return nil, err
	}
	if err := p.guard.watch(c.pid()); err != nil {
		return nil, errors.Join(err, c.end(p.abort))
	}
	return c, nil
}

// awaitReady looks until the server answers or ends. The end of the child ends a
// look too: whoever else has the port may accept and say nothing.
func (p *process) awaitReady(ctx context.Context, c *child) error {
	look, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.done:
			cancel()
		case <-look.Done():
		}
	}()
	pause := time.NewTicker(readyPoll)
	defer pause.Stop()
	for {
		err := p.ready(look, p.port, c.pid())
		switch {
		case err == nil:
			return nil
		case c.ended():
			return fmt.Errorf("it ended: %s", c.cmd.ProcessState)
		case ctx.Err() != nil:
			return fmt.Errorf("not ready: %w, last look: %w", context.Cause(ctx), err)
		}
		select {
		case <-look.Done():
		case <-pause.C:
		}
	}
}

// stop ends the server by signal and keeps its folder. Stopping a stopped server
// is no error.
func (p *process) stop(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopLocked(signal)
}

func (p *process) stopLocked(signal syscall.Signal) error {
	if p.child == nil {
		return nil
	}
	err := p.child.end(signal, p.abort)
	p.child = nil
	return errors.Join(err, p.guard.forget())
}

// close ends the server, its folder and its guardian. It is idempotent.
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

// logTail returns the end of the log as text to append to an error.
func (p *process) logTail() string {
	const most = 2000 // bytes
	text, err := os.ReadFile(p.logFile())
	if err != nil || len(text) == 0 {
		return ""
	}
	text = text[max(0, len(text)-most):]
	return "; the end of its log:\n" + strings.TrimSpace(string(text))
}
