// Package devstack starts real servers for the demo and the tests: Postgres, PgBouncer and Redis as child processes,
// NATS inside this process. To reproduce the failures of larger installations it also starts Postgres standbys, Redis
// replicas, Redis Cluster, Redis Sentinel, a NATS cluster, and tablespaces that fill up.
//
// Each server has its own folder and a free port on 127.0.0.1. It can be stopped and started again with the same port
// and data. If the configuration names a URL, devstack connects to that external server instead: it starts nothing, and
// it refuses to stop or start the external server ([ErrExternal]).
//
// Close stops a server and removes its folder. If this process ends without Close (Ctrl-C, a panic, os.Exit, kill -9),
// two independent mechanisms clean up. On Linux the kernel signals each server when this process dies. On every system
// a guardian process, one per server, stops the server and removes its folder: it is a shell in its own session that
// reads a pipe, and only this process holds the other end. A folder remains only if the guardian is killed as well.
//
// The production programs never import this package. It works on Linux and macOS.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrMissing reports that a server program is not installed. The error that wraps it lists the searched locations and
// the command that installs the program.
var ErrMissing = errors.New("program not found")

// ErrExternal is returned by methods that stop, start or reconfigure a server if the server was configured by URL:
// devstack controls only the servers that it started.
var ErrExternal = errors.New("cannot control an external server: it was configured by URL and not started by devstack")

// errClosed is returned when a server is started again after Close.
var errClosed = errors.New("already closed")

const (
	// startTimeout bounds one start, including crash recovery.
	startTimeout = 60 * time.Second
	// stopGrace is how long a server may take to exit after a signal before it receives the next one.
	stopGrace = 30 * time.Second
	// readyPoll is the pause between two checks of a starting server.
	readyPoll = 10 * time.Millisecond
	// portTries is how many ports a first start tries.
	portTries = 5
)

// errNotYet is returned by a condition that does not hold yet and has no details to report.
var errNotYet = errors.New("not yet")

// await calls cond every readyPoll until it returns nil. When ctx ends, await returns an error that names what was
// awaited and wraps the last error of cond.
func await(ctx context.Context, what string, cond func(context.Context) error) error {
	pause := time.NewTicker(readyPoll)
	defer pause.Stop()
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("await %s: %w; last check: %w", what, context.Cause(ctx), err)
		case <-pause.C:
		}
	}
}

// bounded calls act with a context that lasts at most startTimeout, and prefixes its error with what was done.
func bounded(ctx context.Context, what string, act func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := act(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// control calls act with the process of a server and prefixes its error with what was done. A nil process belongs to
// an external server: control then returns [ErrExternal].
func control(p *process, what string, act func(*process) error) error {
	err := ErrExternal
	if p != nil {
		err = act(p)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// logf writes one line to log, which may be nil.
func logf(log io.Writer, format string, args ...any) {
	if log != nil {
		fmt.Fprintf(log, format+"\n", args...)
	}
}
