// Package devstack starts the real servers that the demo and every test run
// against: Postgres, PgBouncer and Redis as child processes, NATS inside this
// process. For the failures of larger installations there are standbys of Postgres,
// replicas of Redis, Redis Cluster and Sentinel, a NATS cluster and disks that fill up.
//
// Each server gets a folder of its own and a free port on 127.0.0.1, and can be
// stopped and started again on the same port and data. Given a URL instead, it
// uses that server, starts nothing and refuses to stop it ([ErrNotOurs]).
//
// Nothing stays behind, however this process ends. Close removes everything.
// After Ctrl-C, a panic, os.Exit or kill -9 two independent things do it: on
// Linux the kernel signals each server when we die, and everywhere a guardian (a
// shell in a session of its own, one per server, reading a pipe of which we hold
// the only other end) stops the server and removes its folder. Only killing the
// guardian too leaves a folder behind.
//
// The production relay never imports this package. It works on Linux and macOS.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrMissing says that a server program is not installed. The error that wraps
// it lists where we looked and the command that installs the program.
var ErrMissing = errors.New("program not found")

// ErrNotOurs is returned by Stop, Kill and Start of a server that was given by
// URL: devstack never touches a server that it did not start.
var ErrNotOurs = errors.New("the server was given by URL, it is not ours to stop or start")

// errClosed is returned when a server is started again after Close.
var errClosed = errors.New("already closed")

const (
	// startTimeout bounds one start, crash recovery included.
	startTimeout = 60 * time.Second
	// stopGrace is how long a server may take to obey a signal before it gets a
	// harder one.
	stopGrace = 30 * time.Second
	// readyPoll is the pause between two looks at a starting server.
	readyPoll = 10 * time.Millisecond
	// portTries is how many ports a first start tries.
	portTries = 5
)

// errNotYet is what a condition returns that simply does not hold yet.
var errNotYet = errors.New("not yet")

// await looks until cond returns nil, or returns its last error when ctx ends. The
// text says what is awaited.
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
			return fmt.Errorf("await %s: %w, last look: %w", what, context.Cause(ctx), err)
		case <-pause.C:
		}
	}
}

// say writes one line about a decision to log, which may be nil.
func say(log io.Writer, format string, args ...any) {
	if log != nil {
		fmt.Fprintf(log, format+"\n", args...)
	}
}
