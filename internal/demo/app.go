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
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
)

// accountsPerScale is how many accounts pgbench creates per unit of scale.
const accountsPerScale = 100_000

// An app is pgbench with PostgreSQL's own TPC-B: an application that knows nothing of the outbox.
type app struct {
	cfg *Config
	env *environment

	committed int64         // transactions as pgbench counted them; valid after Run
	rate      atomic.Uint64 // transactions a second as pgbench reported them last, a float64
}

func (a *app) accounts() int { return a.cfg.Scale * accountsPerScale }

// init creates the tables of pgbench. pgbench first drops tables of the same names; the schema belongs to the demo alone.
func (a *app) init(ctx context.Context) error {
	if a.env.given {
		if _, err := a.env.pool.Exec(ctx, "CREATE SCHEMA "+a.env.home); err != nil {
			return fmt.Errorf("create schema %s: %w", a.env.home, err)
		}
	}
	if _, err := a.pgbench(ctx, nil, "-i", "-q", "-s", strconv.Itoa(a.cfg.Scale)); err != nil {
		return fmt.Errorf("create the tables of pgbench: %w", err)
	}
	return nil
}

// Run runs the load for Config.Duration.
func (a *app) Run(ctx context.Context) error {
	out, err := a.pgbench(ctx, a.readProgress, "-n", "-b", "tpcb-like", "-c", strconv.Itoa(a.cfg.Clients),
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

// processed reads the number of transactions from the output of pgbench.
func processed(out []byte) (int64, error) {
	match := processedLine.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("no number of transactions in its output:\n%s", bytes.TrimSpace(out))
	}
	return strconv.ParseInt(string(match[1]), 10, 64)
}

var progressLine = regexp.MustCompile(`^progress: [0-9.]+ s, ([0-9.]+) tps`)

// readProgress reads the line that pgbench prints every second.
func (a *app) readProgress(line []byte) {
	if match := progressLine.FindSubmatch(line); match != nil {
		if tps, err := strconv.ParseFloat(string(match[1]), 64); err == nil {
			a.rate.Store(math.Float64bits(tps))
		}
	}
}

func (a *app) tps() float64 { return math.Float64frombits(a.rate.Load()) }

// pgbench runs pgbench to its end and returns its standard output. onLine, if not nil, receives each line of its standard
// error. When ctx ends, pgbench gets SIGINT.
func (a *app) pgbench(ctx context.Context, onLine func([]byte), args ...string) ([]byte, error) {
	program, err := a.env.postgres.Bin("pgbench")
	if err != nil {
		return nil, err
	}
	env, err := libpqEnv(a.env.postgres.URL(), a.env.home)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	stderr := &child.Output{OnLine: onLine}
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- devstack found the program
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = filepath.Dir(program) // every user can enter it
	cmd.Stdout, cmd.Stderr = &out, stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	pgbench, err := child.Start(cmd, syscall.SIGKILL)
	if err == nil {
		err = pgbench.Wait()
	}
	if err != nil {
		return nil, errors.Join(context.Cause(ctx), fmt.Errorf("%w; its last output:\n%s", err, stderr.Tail()))
	}
	return out.Bytes(), nil
}
