package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	// restartDelay is how long the relay is down after SIGKILL, as it would be under a supervisor.
	restartDelay = 500 * time.Millisecond
	// stopGrace is how long the relay may take to end in order.
	stopGrace = 8 * time.Second
)

// A relayProcess keeps outbox relay running as a process of its own. Its settings are in the environment, so that no secret
// is among its arguments.
type relayProcess struct {
	program string
	args    []string
	env     []string

	kills chan chan struct{} // requests to kill the process; each is closed when the next process runs
	pid   atomic.Int64
}

func newRelayProcess(program string, env *environment) *relayProcess {
	return &relayProcess{
		program: program,
		args:    []string{"outbox", "relay", "--stream", env.stream, "--subjects", env.subject + ".>", "--name", "demo", "--grace", "3s"},
		env: child.Environ("OUTBOX_DATABASE_URL="+env.postgres.URL(), "OUTBOX_NATS_URL="+env.nats.URL(), "OUTBOX_SCHEMA="+env.schema,
			"OUTBOX_LOG_FORMAT=text"),
		kills: make(chan chan struct{}),
	}
}

// Run keeps a relay running until ctx ends, and then stops it. It returns an error if a relay ends unexpectedly.
func (r *relayProcess) Run(ctx context.Context) error {
	var restarted chan struct{}
	for {
		relay, output, err := r.start()
		if err != nil {
			return fmt.Errorf("start relay: %w", err)
		}
		if restarted != nil {
			close(restarted)
		}
		select {
		case <-relay.Done():
			return fmt.Errorf("relay ended unexpectedly (%s); its last output:\n%s", relay.State(), output.Tail())
		case <-ctx.Done():
			if err := relay.Stop(stopGrace); err != nil {
				return fmt.Errorf("stop relay: %w", err)
			}
			return nil
		case restarted = <-r.kills:
			if err := kill(relay); err != nil {
				return err
			}
		}
		if wait.For(ctx, restartDelay) != nil {
			return nil
		}
	}
}

// Kill kills the relay with SIGKILL and returns when the next one has started.
func (r *relayProcess) Kill(ctx context.Context) error {
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

func (r *relayProcess) start() (*child.Process, *child.Output, error) {
	program := r.program
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, err
		}
		program = self
	}
	output := &child.Output{}
	cmd := exec.Command(program) // #nosec G204 -- outbox itself
	cmd.Args, cmd.Env = r.args, r.env
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = time.Second
	relay, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, nil, err
	}
	r.pid.Store(int64(relay.PID()))
	return relay, output, nil
}

// kill kills a relay and checks that it did not end in another way before.
func kill(relay *child.Process) error {
	relay.Kill()
	exit, ok := errors.AsType[*exec.ExitError](relay.Wait())
	if !ok || !exit.Sys().(syscall.WaitStatus).Signaled() {
		return fmt.Errorf("kill relay: it ended before the signal: %s", relay.State())
	}
	return nil
}
