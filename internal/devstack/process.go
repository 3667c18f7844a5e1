package devstack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
	// configure writes what the program reads about its port; nil: nothing.
	configure func(port int) error
	// ready returns nil when the server with this port and pid answers, and an
	// error when nobody does or another server.
	ready func(ctx context.Context, port, pid int) error

	mu     sync.Mutex
	guard  *guardian
	port   int    // fixed by the first start that works
	child  *child // nil when stopped
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

// startAnywhere starts the server on a free port. Another program may take the
// port between our look and the server's, so it tries several. Like run, it is
// called before anyone else has p.
func (p *process) startAnywhere(ctx context.Context) error {
	for try := 1; ; try++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		p.port = port
		err = p.start(ctx)
		if err == nil || try == portTries || portFree(port) == nil {
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
	p.child = c
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

// freePort finds a port that nobody listens on. It stays below the ports that the
// system hands out to outgoing connections (Linux from 32768, macOS from 49152),
// so that no client takes the port of a server while that is stopped.
func freePort() (int, error) {
	const first, count, tries = 20000, 10000, 100
	var err error
	for range tries {
		port := first + rand.IntN(count)
		if err = portFree(port); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

// freePorts finds n ports, all different.
func freePorts(n int) ([]int, error) {
	var ports []int
	for len(ports) < n {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// portFree returns nil if a server could listen on port now.
func portFree(port int) error {
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return err
	}
	return listener.Close()
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
