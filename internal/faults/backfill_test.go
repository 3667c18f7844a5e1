package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

const (
	backfillEnv    = "OUTBOX_BACKFILL" // rows in TestBackfillBesideWriters, such as 5000000
	backfillKills  = 4
	windowLength   = 4 * time.Second
	maxPairs       = 20        // pairs of windows, one with the backfill and one without
	maxLoss        = 0.10      // share of the writers' throughput
	backfillMemory = 100       // peak in MiB
	maxVerified    = 2_000_000 // rows up to which the whole stream is verified
)

// createLedger creates a table with n rows of version 0 and then attaches it. It returns the name of the table.
func (s *scenario) createLedger(n int) string {
	s.t.Helper()
	name := "ledger_" + s.table.Schema()
	s.exec("CREATE TABLE public." + name + " (key int PRIMARY KEY, version int NOT NULL, note text NOT NULL)")
	s.t.Cleanup(func() {
		if _, err := s.pool.Exec(context.Background(), "DROP TABLE public."+name); err != nil {
			s.t.Error(err)
		}
	})
	s.exec("INSERT INTO public."+name+" SELECT g, 0, repeat('x', 100) FROM generate_series(1, $1::int) g", n)
	_, err := s.table.Attach(s.t.Context(), s.pool, outbox.Attachment{Table: "public." + name, Subject: s.stream + ".ledger.{key}", Columns: []string{"key", "version"}}, time.Second)
	s.must(err)
	return "public." + name
}

// startBackfill starts outbox backfill. Callers pass --op insert, which distinguishes its events from those of the
// writers, which are updates.
func (s *scenario) startBackfill(args ...string) *program {
	s.t.Helper()
	return s.startOutbox("", append([]string{"backfill", "--schema", s.table.Schema(), "--stream", s.stream}, args...)...)
}

// job reads the newest job.
func (s *scenario) job(ctx context.Context) (jobs.Job, error) {
	list, err := jobs.In(s.table).Jobs(ctx, s.pool, 1)
	if err == nil && len(list) == 0 {
		err = errors.New("no job")
	}
	if err != nil {
		return jobs.Job{}, err
	}
	return list[0], nil
}

// awaitJob waits until there is a job, and returns the newest one.
func (s *scenario) awaitJob() (job jobs.Job) {
	s.t.Helper()
	s.eventually(20*time.Second, "job started", func(ctx context.Context) (err error) {
		job, err = s.job(ctx)
		return err
	})
	return job
}

// awaitJobEvents waits until the job has inserted a number of events, or is done.
func (s *scenario) awaitJobEvents(events int64) {
	s.t.Helper()
	s.eventually(time.Minute, fmt.Sprintf("%d events inserted by the job", events), func(ctx context.Context) error {
		job, err := s.job(ctx)
		if err == nil && job.Last.Events < events && !job.Last.Done {
			err = fmt.Errorf("got %d", job.Last.Events)
		}
		return err
	})
}

// verifyBackfill requires that each row has exactly one event of the backfill, and that no event has an older version
// than an earlier event of its key.
func (s *scenario) verifyBackfill(rows int) {
	s.t.Helper()
	var once, all, old int
	s.must(s.pool.QueryRow(s.t.Context(), s.table.SQL(`WITH e AS MATERIALIZED (
			SELECT id, key, headers->>'Outbox-Op' = 'insert' AS ours, (convert_from(payload, 'UTF8')::json->>'version')::int AS v FROM outbox.event WHERE subject LIKE '%.ledger.%')
		SELECT (SELECT count(DISTINCT key) FROM e WHERE ours), (SELECT count(*) FROM e WHERE ours),
		       (SELECT count(*) FROM (SELECT v < lag(v) OVER (PARTITION BY key ORDER BY id) AS older FROM e) AS o WHERE older)`)).Scan(&once, &all, &old))
	if once != rows || all != rows || old != 0 {
		s.t.Errorf("backfill: got events for %d rows, %d events, %d of them older than an earlier one; want %d rows, %[4]d events and 0", once, all, old, rows)
	}
}

// TestBackfillKilled kills the backfill repeatedly while writers and a relay are running. Each time it resumes.
func TestBackfillKilled(t *testing.T) {
	const rows = 2500
	s := newScenario(t, options{})
	tbl := s.createLedger(rows)
	s.startRelay("backfill", "")
	ctx, stop := context.WithCancel(t.Context())
	var writers errgroup.Group
	var writes atomic.Int64
	for range 3 {
		writers.Go(func() error {
			for ctx.Err() == nil {
				if _, err := s.pool.Exec(t.Context(), "UPDATE "+tbl+" SET version = version + 1 WHERE key = $1", 1+rand.N(rows)); err != nil {
					return err
				}
				writes.Add(1)
				pause(ctx, time.Millisecond)
			}
			return nil
		})
	}
	p := s.startBackfill("--table", tbl, "--op", "insert", "--rate", "0", "--page", "16")
	id, killed := s.awaitJob().ID.String(), 0
	for n := range backfillKills {
		s.awaitJobEvents(int64(rows * (n + 1) / (backfillKills + 2)))
		p.Kill()
		if !s.awaitJob().Last.Done {
			killed++
		}
		p = s.startBackfill("--job", id, "--rate", "0", "--page", "16")
	}
	p.wantExit(time.Minute, 0, "")
	stop()
	s.must(writers.Wait())
	job := s.awaitJob()
	if !job.Last.Done || job.Last.Scanned != rows || job.Last.Events != rows {
		t.Errorf("got last step %+v, want it done with %d rows and events", job.Last, rows)
	}
	s.verifyBackfill(rows)
	s.verify()
	if killed == 0 {
		t.Error("the backfill was done before the first kill")
	}
	t.Logf("%d kills, %d concurrent writes, %d steps", killed, writes.Load(), job.Last.N)
}

// TestBackfillBesideWriters measures how much a backfill at its default rate slows the writers of the same table.
// Windows with and without the backfill alternate, so that other changes of load on the machine cancel out. Relay,
// backfill and pgbench are processes that share the machine with PostgreSQL and NATS. `make backfill` runs it.
func TestBackfillBesideWriters(t *testing.T) {
	rows := sizeFrom(t, backfillEnv, 0)
	if rows == 0 {
		return
	}
	server := devtest.OwnPostgres(t, devstack.PostgresConfig{Fsync: true})
	s := newScenario(t, options{database: server.URL()})
	tbl := s.createLedger(rows)
	s.exec("VACUUM ANALYZE " + tbl)
	s.startRelay("backfill", "")
	bench := s.pgbench(server, tbl, rows)
	bench() // warms the caches
	p := s.startBackfill("--table", tbl, "--op", "insert")
	job, began := s.awaitJob(), time.Now()
	memory := 0
	with, without, events := s.measureWindows(job, bench, func() { memory = max(memory, p.memory()) })
	p.wantExit(3*time.Hour, 0, "")
	t.Logf("the backfill took %s, including pauses", short(time.Since(began)))
	rate := float64(events) / (float64(len(with)) * windowLength.Seconds())
	lost := 1 - mean(with)/mean(without)
	t.Logf("%d rows, %d pairs of windows: writers %.0f tps without, %.0f with (%.1f%% less), backfill %.0f events/s, backfill memory %d MiB",
		rows, len(with), mean(without), mean(with), lost*100, rate, memory)
	t.Logf("without %.0f\nwith    %.0f", without, with)
	if lost > maxLoss {
		t.Errorf("the backfill cost the writers %.1f%% of their throughput, want at most %.0f%%", lost*100, maxLoss*100)
	}
	if memory > backfillMemory {
		t.Errorf("the backfill used %d MiB, want at most %d", memory, backfillMemory)
	}
	s.verifyBackfill(rows)
	if rows <= maxVerified {
		s.verify()
	} else {
		s.awaitIdle()
	}
}

// measureWindows runs the writers in alternating windows with and without the backfill, until the backfill is done or
// there are maxPairs pairs. It calls sample once in each window, and returns the throughputs in transactions a second
// and the number of events that the backfill inserted in its windows.
func (s *scenario) measureWindows(job jobs.Job, bench func() float64, sample func()) (with, without []float64, events int64) {
	s.t.Helper()
	target := table.PauseJob(job.ID)
	for pair := range maxPairs {
		for _, on := range [2]bool{pair%2 == 0, pair%2 != 0} { // alternate which one is first
			s.runBackfill(target, on)
			sample()
			before := s.awaitJob().Last
			tps := bench()
			after := s.awaitJob().Last
			switch {
			case on && after.Done:
				return with, without[:len(with)], events
			case on:
				with = append(with, tps)
				events += after.Events - before.Events
			default:
				without = append(without, tps)
			}
		}
	}
	s.runBackfill(target, true)
	return with, without, events
}

// runBackfill resumes the backfill, or pauses it and waits until it and the relay are idle.
func (s *scenario) runBackfill(target string, on bool) {
	s.t.Helper()
	if on {
		_, err := s.table.Resume(s.t.Context(), s.pool, []string{target}, "", "")
		s.must(err)
		last := s.awaitJob().Last
		s.awaitJobEvents(last.Events + 1)
		return
	}
	_, err := s.table.Pause(s.t.Context(), s.pool, []string{target}, 0, "window without the backfill", "")
	s.must(err)
	s.eventually(30*time.Second, "backfill and relay idle", func(ctx context.Context) error {
		before, err := s.job(ctx)
		if err != nil {
			return err
		}
		if err := wait.For(ctx, time.Second); err != nil { // twice the time in which a job notices a pause
			return err
		}
		after, err := s.job(ctx)
		if err != nil {
			return err
		}
		if after.Last.N != before.Last.N {
			return errors.New("the backfill is still running")
		}
		return s.allPublished(ctx)
	})
}

var benchTPS = regexp.MustCompile(`tps = ([0-9.]+) \(without`)

// pgbench returns a function that runs four clients, which change random rows, for one window, and returns their
// transactions a second.
func (s *scenario) pgbench(server *devstack.Postgres, tbl string, rows int) func() float64 {
	s.t.Helper()
	program, err := server.Bin("pgbench")
	s.must(err)
	script := filepath.Join(s.t.TempDir(), "bump.sql")
	s.must(os.WriteFile(script, fmt.Appendf(nil, "\\set key random(1, %d)\nUPDATE %s SET version = version + 1 WHERE key = :key;\n", rows, tbl), 0o600))
	return func() float64 {
		s.t.Helper()
		out, err := exec.CommandContext(s.t.Context(), program, "-n", "-c", "4", "-j", "1", "-M", "prepared",
			"-T", strconv.Itoa(int(windowLength.Seconds())), "-f", script, s.databaseURL).CombinedOutput()
		found := benchTPS.FindSubmatch(out)
		if err != nil || found == nil {
			s.t.Fatalf("pgbench: %v\n%s", err, out)
		}
		tps, err := strconv.ParseFloat(string(found[1]), 64)
		s.must(err)
		return tps
	}
}

func mean(all []float64) (m float64) {
	for _, x := range all {
		m += x / float64(len(all))
	}
	return m
}
