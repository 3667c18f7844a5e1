package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

func waiting() *Scenario {
	return &Scenario{
		Name: "waiting", Short: "memory of a relay with 10,000,000 rows waiting",
		Title:    "how much memory a relay takes that finds very many rows waiting",
		alone:    true,
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 1, Events: 10_000_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{{metric: peakMiB, most: 80}},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{{oursArm, l.waiting}}}, nil
		},
	}
}

const (
	peakMiB = "peak_rss_mib"
	// looked is how many events are published before memory is looked at; it is the same from the first window on.
	looked = 2_000_000
)

// waiting starts the program on a backlog, and looks at what it had at most.
func (l *lab) waiting(ctx context.Context, m *meter) error {
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	if err := s.fill(ctx, l.set.Events); err != nil {
		return err
	}
	n := min(l.set.Events, looked)
	if l.cfg.Program == "" {
		l.note("the relay ran in the process of this harness, whose memory is counted with its")
		return l.waitingHere(ctx, m, s, n)
	}
	program, err := startRelay(l.cfg.Program, l.servers.Env, s)
	if err != nil {
		return err
	}
	defer program.stop()
	l.mu.Lock()
	l.procs[procRelay] = process(program.cmd.Process.Pid)
	l.mu.Unlock()
	m.start()
	err = until(ctx, runWait, fmt.Sprintf("%d messages in the stream", n), 50*time.Millisecond, func() (bool, error) {
		stream, err := l.js.Stream(ctx, s.stream)
		if err != nil {
			return false, err
		}
		return stream.CachedInfo().State.Msgs >= uint64(n), program.ended() // #nosec G115 -- not negative
	})
	m.stop(n)
	m.value(peakMiB, float64(m.sample.Costs[procRelay].Peak)/(1<<20))
	l.mu.Lock()
	delete(l.procs, procRelay)
	l.mu.Unlock()
	return errors.Join(err, program.stop(), s.remove(ctx))
}

func (l *lab) waitingHere(ctx context.Context, m *meter, s *station, n int) error {
	m.start()
	r, err := s.relay(ctx)
	if err != nil {
		return err
	}
	err = r.published(ctx, n)
	m.stop(n)
	m.value(peakMiB, float64(m.sample.Costs[procOurs].Peak)/(1<<20))
	return errors.Join(err, r.stop(), s.remove(ctx))
}

// programName is what a process of ours is told that it was called by.
const programName = "outbox"

// A program is outbox relay as a process of its own.
type program struct {
	cmd  *exec.Cmd
	said strings.Builder
	done chan struct{}
}

// startRelay starts it; what it has to know of the servers is in the environment, so that no secret is among its arguments.
func startRelay(path string, env []string, s *station) (*program, error) {
	p := &program{cmd: exec.Command(path, "relay", "--stream", s.stream, "--schema", s.table.Schema()), done: make(chan struct{})} // #nosec G204 -- ourselves
	p.cmd.Args[0] = programName
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "OUTBOX_") }), env...)
	p.cmd.Stderr = &p.said
	p.cmd.SysProcAttr = apart()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start outbox relay: %w", err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // ended says it
	}()
	return p, nil
}

func (p *program) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("outbox relay ended by itself (%s): %s", p.cmd.ProcessState, p.said.String())
	default:
		return nil
	}
}

// stop ends it in order, and at once after a while. It may be called again.
func (p *program) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.AfterFunc(15*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	<-p.done
	return nil
}
