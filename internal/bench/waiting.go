package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
)

func waiting() *Scenario {
	return &Scenario{
		Name: "waiting", Short: "memory of a relay with a backlog of 10,000,000 rows",
		Title:    "peak memory of a relay that starts with a very large backlog",
		alone:    true,
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 1, Events: 10_000_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{{metric: peakMiB, most: 80}},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{{oursArm, s.waiting}}}, nil
		},
	}
}

const (
	peakMiB = "peak_rss_mib"
	// measuredEvents is how many events are published before memory is read. It no longer grows after the first window.
	measuredEvents = 2_000_000
)

// waiting starts the program on a backlog and measures its peak memory.
func (s *session) waiting(ctx context.Context, m *meter) error {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	if err := env.fill(ctx, s.set.Events); err != nil {
		return err
	}
	n := min(s.set.Events, measuredEvents)
	if s.cfg.Program == "" {
		s.note("the relay ran in the process of the benchmark, so the memory is that of both")
		err = env.drain(ctx, m, n)
		m.value(peakMiB, mib(m.sample.Costs[procOurs].Peak))
		return errors.Join(err, env.remove(ctx))
	}
	return errors.Join(s.measureProgram(ctx, m, env, n), env.remove(ctx))
}

// measureProgram measures a relay in a process of its own until the stream has n messages.
func (s *session) measureProgram(ctx context.Context, m *meter, env *environment, n int) error {
	relay, output, err := env.startProgram()
	if err != nil {
		return err
	}
	s.watchProcess(procRelay, process(relay.PID()))
	defer s.watchProcess(procRelay, nil)
	m.start()
	err = until(ctx, runTimeout, fmt.Sprintf("%d messages in the stream", n), 50*time.Millisecond, func() (bool, error) {
		if relay.Ended() {
			return false, fmt.Errorf("outbox relay ended unexpectedly (%s): %s", relay.State(), output.Tail())
		}
		stream, err := s.js.Stream(ctx, env.stream)
		if err != nil {
			return false, err
		}
		return stream.CachedInfo().State.Msgs >= uint64(n), nil // #nosec G115 -- not negative
	})
	m.stop(n)
	m.value(peakMiB, mib(m.sample.Costs[procRelay].Peak))
	if stopErr := relay.Stop(15 * time.Second); stopErr != nil && err == nil {
		err = fmt.Errorf("stop outbox relay: %w: %s", stopErr, output.Tail())
	}
	return err
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// watchProcess adds a process to those that the meter reads; with nil it removes the process.
func (s *session) watchProcess(name string, read func() Cost) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if read == nil {
		delete(s.procs, name)
		return
	}
	s.procs[name] = read
}

// programName is the name by which a child of this program is called.
const programName = "outbox"

// startProgram starts outbox relay as a process of its own. The addresses of the servers are in its environment, so that no
// secret is among its arguments.
func (e *environment) startProgram() (*child.Process, *child.Output, error) {
	output := &child.Output{}
	cmd := exec.Command(e.s.cfg.Program, "relay", "--stream", e.stream, "--schema", e.table.Schema()) // #nosec G204 -- outbox itself
	cmd.Args[0] = programName
	cmd.Env = child.Environ(e.s.servers.Env...)
	cmd.Stderr = output
	relay, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, nil, fmt.Errorf("start outbox relay: %w", err)
	}
	return relay, output, nil
}
