package faults

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func testCluster(t *testing.T) {
	t.Run("failover", testFailover)
	t.Run("restore", testRestore)
}

// testFailover promotes an asynchronous standby that lacks the last commits of its primary, whose events the relay has
// published. The new primary assigns the same ids, xids and positions again. In every second round the standby has
// events that it has no plan for.
func testFailover(t *testing.T) {
	primary := devtest.OwnPostgres(t, devstack.PostgresConfig{})
	runScenario(t, "PostgreSQL: fail-over to a standby that lost commits whose events were published", options{database: primary.URL(), duplicates: 100 * time.Millisecond}, func(s *scenario) {
		s.others, s.failedOver = true, true // published events that the new primary lacks are foreign messages
		for n := range times(2, 3) {
			p := s.startRelay(fmt.Sprintf("primary-%d", n), "")
			standby := devtest.OwnStandby(t, primary)
			l := s.startLoad(6, 2*time.Millisecond, true)
			s.probe()
			if n%2 == 1 {
				s.detachUnplanned(p, standby)
			} else {
				s.must(standby.CatchUp(t.Context()))
				s.must(standby.Detach(t.Context()))
			}
			s.awaitGrowth(200)
			s.must(primary.Kill())
			began := time.Now()
			l.stop()
			p.Kill()
			s.must(standby.Promote(t.Context()))
			s.useDatabase(standby.URL())
			p = s.startRelay(fmt.Sprintf("promoted-%d", n), "")
			s.measureRecovery(began)
			l = s.startLoad(6, 2*time.Millisecond, false)
			s.awaitGrowth(200)
			l.stop()
			s.row.faults++
			if !strings.Contains(p.log.String(), "the database failed over") {
				t.Errorf("the log does not report the fail-over:\n%s", p.log.String())
			}
			v := s.verify()
			s.checkVersions()
			if v.Foreign == 0 {
				t.Error("got 0 foreign messages, want some: the fail-over lost no published event")
			}
			s.row.verdict.Reordered = 0 // positions were assigned twice; checkVersions has checked the order of each key
			p.Kill()
			primary = standby
		}
	})
}

// detachUnplanned detaches a standby that has events without a plan. The relay plans and publishes them afterwards.
func (s *scenario) detachUnplanned(p *program, standby *devstack.Postgres) {
	s.t.Helper()
	p.signal(syscall.SIGSTOP)
	s.eventually(30*time.Second, "50 events pending", func(ctx context.Context) error {
		status, err := s.table.Status(ctx, s.pool, s.stream)
		if err == nil && status.Pending < 50 {
			err = fmt.Errorf("got %d", status.Pending)
		}
		return err
	})
	s.must(standby.CatchUp(s.t.Context()))
	s.must(standby.Detach(s.t.Context()))
	p.signal(syscall.SIGCONT)
}

// testRestore restores a dump in another cluster, whose current xid is at first lower than the xids in the dump, and
// continues until it is higher. In the second round the original database continues to publish after the dump, contrary
// to the documentation.
func testRestore(t *testing.T) {
	restore(t, "PostgreSQL: dump restored in another cluster, taken over by outbox adopt", false)
	if full() {
		restore(t, "PostgreSQL: the same, and the original continued to publish after the dump", true)
	}
}

func restore(t *testing.T, fault string, originalContinues bool) {
	old, next := devtest.OwnPostgres(t, devstack.PostgresConfig{}), devtest.OwnPostgres(t, devstack.PostgresConfig{})
	runScenario(t, fault, options{database: old.URL(), duplicates: 100 * time.Millisecond}, func(s *scenario) {
		s.burnXIDs(5_000)
		fresh, late := s.createUnplanned()
		dumpInto(t, old, next)
		if originalContinues {
			s.others, s.failedOver = true, true
			p := s.startRelay("original", "")
			s.measureRecovery(time.Now())
			s.awaitIdle()
			p.Kill()
		}
		end, original := s.awaitState().LastSeq, s.nextXID()
		s.must(old.Stop())
		s.useDatabase(next.URL())
		if now := s.nextXID(); now >= original {
			t.Fatalf("got xid %d in the new cluster, want one below %d", now, original)
		}
		p := s.startRelay("clone", "")
		p.wantExit(time.Minute, 1, "outbox adopt")
		if now := s.awaitState().LastSeq; now != end {
			t.Errorf("the relay of a copy published %d events, want 0", now-end)
		}
		began := time.Now()
		s.adopt(fresh + late)
		s.startRelay("adopted", "")
		s.measureRecovery(began)
		s.row.faults++
		l := s.startLoad(4, 2*time.Millisecond, false)
		for s.nextXID() < original+1000 { // writers are active while the xids of the dump are passed
			s.burnXIDs(500)
		}
		l.stop()
		s.verify()
		s.checkVersions()
		s.row.note = fmt.Sprintf("the dump had %d fresh and %d late events without a plan", fresh, late)
	})
}

// adopt runs outbox adopt and requires that it plans a number of events.
func (s *scenario) adopt(unplanned int) {
	s.t.Helper()
	p := s.startOutbox("", "adopt", "--schema", s.table.Schema(), "--yes", "--output", "json")
	p.wantExit(time.Minute, 0, "")
	if want := fmt.Sprintf(`"planned":%d`, unplanned); !strings.Contains(strings.ReplaceAll(p.log.String(), " ", ""), want) {
		s.t.Errorf("outbox adopt does not report %s:\n%s", want, p.log.String())
	}
}

// createUnplanned runs a relay for a while and leaves events without a plan: fresh ones, and late ones of a transaction
// that committed after later events were published.
func (s *scenario) createUnplanned() (fresh, late int) {
	s.t.Helper()
	p := s.startRelay("original", "")
	l := s.startLoad(4, 2*time.Millisecond, false)
	s.awaitGrowth(200)
	long, err := s.pool.Begin(s.t.Context())
	s.must(err)
	for fresh, late = 0, 0; late < 50; late++ {
		_, err := s.table.Insert(s.t.Context(), long, event.Event{Subject: fmt.Sprintf("%s.late.%d", s.stream, late)})
		s.must(err)
		pause(s.t.Context(), time.Millisecond) // lets other writers take ids in between
	}
	s.probe()
	l.stop()
	s.awaitIdle()
	p.Kill()
	s.must(long.Commit(s.t.Context()))
	for ; fresh < 30; fresh++ {
		_, err := s.table.InsertAndCommit(s.t.Context(), s.pool, event.Event{Subject: fmt.Sprintf("%s.fresh.%d", s.stream, fresh)})
		s.must(err)
	}
	return fresh, late
}

// nextXID returns the xid that the server assigns next.
func (s *scenario) nextXID() (now int64) {
	s.t.Helper()
	s.must(s.pool.QueryRow(s.t.Context(), "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(&now))
	return now
}

// burnXIDs runs n transactions that have an xid.
func (s *scenario) burnXIDs(n int) {
	s.t.Helper()
	s.exec(fmt.Sprintf("DO $$ BEGIN FOR i IN 1..%d LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$", n))
}

// dumpInto copies a database with pg_dump and pg_restore.
func dumpInto(t *testing.T, from, to *devstack.Postgres) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dump")
	for _, args := range [][]string{
		{"pg_dump", "-Fc", "-f", file, from.URL()},
		{"pg_restore", "--exit-on-error", "-d", to.URL(), file},
	} {
		program, err := from.Bin(args[0])
		if err == nil {
			var out []byte
			if out, err = exec.CommandContext(t.Context(), program, args[1:]...).CombinedOutput(); err != nil {
				err = errors.Join(err, errors.New(string(out)))
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", args[0], err)
		}
	}
}
