package faults

import (
	"context"
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
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

const (
	backfillEnv    = "OUTBOX_BACKFILL" // rows of TestBackfillBesideWriters; five million are what it is for
	backfillKills  = 4
	windowLength   = 4 * time.Second
	mostPairs      = 20   // of windows, with the backfill and without
	mostLost       = 0.10 // of the writers' throughput
	backfillMemory = 100  // MiB, at its peak
	judgedWhole    = 2_000_000
)

// ledger is a table with rows of version 0 that was filled before it was attached.
func (s *scene) ledger(n int) string {
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

// backfill starts outbox backfill. Its events say that they are inserts, by which they are told from the writers'.
func (s *scene) backfill(args ...string) *program {
	s.t.Helper()
	return s.outbox("", append([]string{"backfill", "--schema", s.table.Schema(), "--stream", s.stream}, args...)...)
}

// job waits until there is one, and reads it.
func (s *scene) job() (job jobs.Job) {
	s.t.Helper()
	s.eventually(20*time.Second, "the backfill began", func(ctx context.Context) error {
		list, err := jobs.In(s.table).Jobs(ctx, s.pool, 1)
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("no job")
		}
		if err == nil {
			job = list[0]
		}
		return err
	})
	return job
}

// reaches waits until the job has inserted so many events.
func (s *scene) reaches(events int64) {
	s.t.Helper()
	s.eventually(time.Minute, fmt.Sprintf("%d events are inserted", events), func(context.Context) error {
		if job := s.job(); job.Last.Events < events && !job.Last.Done {
			return fmt.Errorf("%d", job.Last.Events)
		}
		return nil
	})
}

// filled judges what a backfill left: each row has one event of it, and no event has an older version than one before it.
func (s *scene) filled(rows int) {
	s.t.Helper()
	var once, all, old int
	s.must(s.pool.QueryRow(s.t.Context(), s.table.SQL(`WITH e AS MATERIALIZED (
			SELECT id, key, headers->>'Outbox-Op' = 'insert' AS ours, (convert_from(payload, 'UTF8')::json->>'version')::int AS v FROM outbox.event WHERE subject LIKE '%.ledger.%')
		SELECT (SELECT count(DISTINCT key) FROM e WHERE ours), (SELECT count(*) FROM e WHERE ours),
		       (SELECT count(*) FROM (SELECT v < lag(v) OVER (PARTITION BY key ORDER BY id) AS older FROM e) AS o WHERE older)`)).Scan(&once, &all, &old))
	if once != rows || all != rows || old != 0 {
		s.t.Errorf("%d of %d rows have an event of the backfill, %d events in all; %d events are older than one before", once, rows, all, old)
	}
}

// TestBackfillKilled kills the backfill again and again beside writers and a relay: it goes on where it was.
func TestBackfillKilled(t *testing.T) {
	const rows = 2500
	s := newScene(t, options{})
	tbl := s.ledger(rows)
	s.relay("backfill", "")
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
	p := s.backfill("--table", tbl, "--op", "insert", "--rate", "0", "--page", "16")
	id, killed := s.job().ID.String(), 0
	for n := range backfillKills {
		s.reaches(int64(rows * (n + 1) / (backfillKills + 2)))
		p.kill()
		if !s.job().Last.Done {
			killed++
		}
		p = s.backfill("--job", id, "--rate", "0", "--page", "16")
	}
	if code := p.ended(time.Minute); code != 0 {
		t.Errorf("the backfill ended with %d:\n%s", code, p.log.String())
	}
	stop()
	s.must(writers.Wait())
	job := s.job()
	if !job.Last.Done || job.Last.Seen != rows || job.Last.Events != rows {
		t.Errorf("%+v", job.Last)
	}
	s.filled(rows)
	s.judge()
	if killed == 0 {
		t.Error("it was done before it could be killed")
	}
	t.Logf("%d kills, %d writes beside it, %d steps", killed, writes.Load(), job.Last.N)
}

// TestBackfillBesideWriters measures what a backfill at its default rate costs the writers of the same table, in windows with it and
// without it by turns, so that what else changes on the machine cancels out. Relay, backfill and pgbench are processes; all of them
// share the machine with PostgreSQL and NATS.
func TestBackfillBesideWriters(t *testing.T) {
	rows, err := strconv.Atoi(os.Getenv(backfillEnv))
	if err != nil {
		if os.Getenv(backfillEnv) != "" {
			t.Fatalf("%s: %v", backfillEnv, err)
		}
		return // make backfill
	}
	server := devtest.OwnPostgres(t, devstack.PostgresConfig{Fsync: true})
	s := newScene(t, options{database: server.URL()})
	tbl := s.ledger(rows)
	s.exec("VACUUM ANALYZE " + tbl)
	s.relay("backfill", "")
	bench := s.pgbench(server, tbl, rows)
	bench() // warm
	p := s.backfill("--table", tbl, "--op", "insert")
	job, began := s.job(), time.Now()
	memory := 0
	with, without, events := s.windows(job, bench, func() { memory = max(memory, p.memory()) })
	if code := p.ended(3 * time.Hour); code != 0 {
		t.Errorf("the backfill ended with %d:\n%s", code, p.log.String())
	}
	t.Logf("took %s, pauses included", short(time.Since(began)))
	rate := float64(events) / (float64(len(with)) * windowLength.Seconds())
	lost := 1 - mean(with)/mean(without)
	t.Logf("%d rows, %d pairs of windows: writers %.0f tps without, %.0f with (%.1f%% lost), backfill %.0f events/s meanwhile, its memory %d MiB",
		rows, len(with), mean(without), mean(with), lost*100, rate, memory)
	t.Logf("without %.0f\nwith    %.0f", without, with)
	if lost > mostLost {
		t.Errorf("writers lose %.1f%%, want at most %.0f%%", lost*100, mostLost*100)
	}
	if memory > backfillMemory {
		t.Errorf("the backfill used %d MiB, want at most %d", memory, backfillMemory)
	}
	s.filled(rows)
	if rows <= judgedWhole {
		s.judge()
	} else {
		s.rest()
	}
}

// windows runs the writers in turns with the backfill and without it, until it is done or there are enough.
func (s *scene) windows(job jobs.Job, bench func() float64, look func()) (with, without []float64, events int64) {
	s.t.Helper()
	target := table.PauseJob(job.ID)
	for pair := range mostPairs {
		for _, on := range [2]bool{pair%2 == 0, pair%2 != 0} { // neither always goes first
			s.turn(target, on)
			look()
			before := s.job().Last
			tps := bench()
			after := s.job().Last
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
	s.turn(target, true)
	return with, without, events
}

// turn resumes the backfill, or pauses it and waits until it stands still.
func (s *scene) turn(target string, on bool) {
	s.t.Helper()
	if on {
		_, err := s.table.Resume(s.t.Context(), s.pool, []string{target}, "", "")
		s.must(err)
		last := s.job().Last
		s.reaches(last.Events + 1)
		return
	}
	_, err := s.table.Pause(s.t.Context(), s.pool, []string{target}, 0, "a window without", "")
	s.must(err)
	s.eventually(30*time.Second, "the backfill stands still, and the relay has nothing to do", func(ctx context.Context) error {
		before := s.job().Last.N
		timer := time.NewTimer(time.Second) // twice what a pause takes to be seen
		defer timer.Stop()
		<-timer.C
		if s.job().Last.N != before {
			return fmt.Errorf("it does not")
		}
		status, err := s.table.Status(ctx, s.pool, s.stream)
		if err == nil && status.Pending != 0 {
			err = fmt.Errorf("%d pending", status.Pending)
		}
		return err
	})
}

var benchTPS = regexp.MustCompile(`tps = ([0-9.]+) \(without`)

// pgbench returns what runs four clients that change random rows for one window, and says how many transactions they made a second.
func (s *scene) pgbench(server *devstack.Postgres, tbl string, rows int) func() float64 {
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
