package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// accountsPerScale is what pgbench makes.
const accountsPerScale = 100_000

// An app is pgbench: PostgreSQL's own TPC-B, an application that knows nothing of us.
type app struct {
	cfg   *Config
	stage *stage
	board *board

	committed int64         // transactions by its own count; read after Run
	rate      atomic.Uint64 // transactions a second as it last said, a float64
}

func newApp(cfg *Config, s *stage, b *board) *app { return &app{cfg: cfg, stage: s, board: b} }

func (a *app) accounts() int { return a.cfg.Scale * accountsPerScale }

// init makes the tables of pgbench. It drops those of that name first, in a schema that is ours alone.
func (a *app) init(ctx context.Context) error {
	if a.stage.given {
		if _, err := a.stage.pool.Exec(ctx, "CREATE SCHEMA "+a.stage.home); err != nil {
			return fmt.Errorf("create schema %s: %w", a.stage.home, err)
		}
	}
	if _, err := a.pgbench(ctx, nil, "-i", "-q", "-s", strconv.Itoa(a.cfg.Scale)); err != nil {
		return fmt.Errorf("make the tables of pgbench: %w", err)
	}
	return nil
}

// Run runs the load for Config.Duration.
func (a *app) Run(ctx context.Context) error {
	out, err := a.pgbench(ctx, a.progress, "-n", "-b", "tpcb-like", "-c", strconv.Itoa(a.cfg.Clients),
		"-T", strconv.Itoa(int(a.cfg.Duration.Seconds())), "-R", strconv.Itoa(a.cfg.Rate), "-P", "1")
	if err != nil {
		return fmt.Errorf("run pgbench: %w", err)
	}
	if a.committed, err = processed(out); err != nil {
		return fmt.Errorf("run pgbench: %w", err)
	}
	return nil
}

var processedLine = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)

// processed reads how many transactions pgbench says it has done.
func processed(out []byte) (int64, error) {
	match := processedLine.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("it does not say how many transactions it did:\n%s", bytes.TrimSpace(out))
	}
	return strconv.ParseInt(string(match[1]), 10, 64)
}

var progressLine = regexp.MustCompile(`^progress: [0-9.]+ s, ([0-9.]+) tps`)

// progress reads the line that pgbench prints every second.
func (a *app) progress(line []byte) {
	if match := progressLine.FindSubmatch(line); match != nil {
		if tps, err := strconv.ParseFloat(string(match[1]), 64); err == nil {
			a.rate.Store(math.Float64bits(tps))
		}
	}
}

func (a *app) tps() float64 { return math.Float64frombits(a.rate.Load()) }

// pgbench runs it to its end and returns its standard output; each line of the other goes to said. It dies with us,
// and is asked to end when ctx does.
func (a *app) pgbench(ctx context.Context, said func([]byte), args ...string) ([]byte, error) {
	program, err := a.stage.postgres.Bin("pgbench")
	if err != nil {
		return nil, err
	}
	env, err := libpqEnv(a.stage.postgres.URL(), a.stage.home)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	complaints := &lines{each: said}
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- devstack found it
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = filepath.Dir(program) // one that user root and others can enter
	cmd.Stdout, cmd.Stderr = &out, complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches us alone
	dieWithUs(cmd.SysProcAttr)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second

	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the kernel's death signal belongs to this thread
		defer runtime.UnlockOSThread()
		ended <- cmd.Run()
	}()
	if err := <-ended; err != nil {
		return nil, errors.Join(context.Cause(ctx), fmt.Errorf("%w; the end of what it said:\n%s", err, complaints.tail()))
	}
	return out.Bytes(), nil
}
