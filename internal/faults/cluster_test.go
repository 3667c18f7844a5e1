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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func testCluster(t *testing.T) {
	t.Run("failover", testFailOver)
	t.Run("restore", testRestore)
}

// move turns to another database that has the outbox: of programs and writers that start from now on.
func (s *scene) move(url string) {
	s.t.Helper()
	s.pool.Close()
	var err error
	s.pool, err = pgxpool.New(s.t.Context(), url)
	s.must(err)
	s.t.Cleanup(s.pool.Close)
	s.databaseURL = url
}

// testFailOver promotes an asynchronous standby that does not have what its primary committed last, and the relay published.
// ids, xids and positions are handed out again. In every second round the standby has events whose plan it does not have.
func testFailOver(t *testing.T) {
	primary := devtest.OwnPostgres(t, devstack.PostgresConfig{})
	scenario(t, "PostgreSQL: fail-over to a standby that lost commits, which were published", options{database: primary.URL(), duplicates: 100 * time.Millisecond}, func(s *scene) {
		s.others, s.failedOver = true, true // what the new primary does not have is foreign to it
		for n := range times(2, 3) {
			p := s.relay(fmt.Sprintf("primary-%d", n), "")
			standby := devtest.OwnStandby(t, primary)
			l := s.write(6, 2*time.Millisecond, true)
			s.flows()
			if n%2 == 1 {
				s.unplanned(p, standby)
			} else {
				s.must(standby.CatchUp(t.Context()))
				s.must(standby.Detach(t.Context()))
			}
			s.lengthens(200)
			s.must(primary.Kill())
			began := time.Now()
			l.stop()
			p.kill()
			s.must(standby.Promote(t.Context()))
			s.move(standby.URL())
			p = s.relay(fmt.Sprintf("promoted-%d", n), "")
			s.recovered(began)
			l = s.write(6, 2*time.Millisecond, false)
			s.lengthens(200)
			l.stop()
			s.row.faults++
			if !strings.Contains(p.log.String(), "the database failed over") {
				t.Errorf("no word of the fail-over:\n%s", p.log.String())
			}
			v := s.judge()
			s.versions()
			if v.Foreign == 0 {
				t.Error("nothing that was published got lost")
			}
			s.row.verdict.Reordered = 0 // by positions, which were handed out again; versions looked at the keys
			p.kill()
			primary = standby
		}
	})
}

// unplanned detaches a standby that has events, but not their plan, and lets the relay plan and publish them then.
func (s *scene) unplanned(p *program, standby *devstack.Postgres) {
	s.t.Helper()
	p.signal(syscall.SIGSTOP)
	s.eventually(30*time.Second, "events wait", func(ctx context.Context) error {
		status, err := s.table.Status(ctx, s.pool, s.stream)
		if err == nil && status.Pending < 50 {
			err = fmt.Errorf("%d wait", status.Pending)
		}
		return err
	})
	s.must(standby.CatchUp(s.t.Context()))
	s.must(standby.Detach(s.t.Context()))
	p.signal(syscall.SIGCONT)
}

// lengthens waits until the stream has n more messages.
func (s *scene) lengthens(n uint64) {
	s.t.Helper()
	want := s.length() + n
	s.eventually(time.Minute, "the stream grows", func(ctx context.Context) error {
		if have := s.length(); have < want {
			return fmt.Errorf("%d of %d messages", have, want)
		}
		return nil
	})
}

func (s *scene) length() uint64 {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), s.stream)
	s.must(err)
	return stream.CachedInfo().State.LastSeq
}

// versions holds the events of each account against each other: of those that the database has, versions rise by one.
func (s *scene) versions() {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), s.table.SQL("SELECT event_id::text FROM outbox.event"))
	s.must(err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	s.must(err)
	ours := make(map[string]bool, len(ids))
	for _, id := range ids {
		ours[id] = true
	}
	last := make(map[string]string)
	stream := verify.Stream{Conn: s.nc, Name: s.stream}
	s.must(stream.Read(s.t.Context(), func(msg jetstream.Msg) error {
		e, err := event.Parse(msg.Subject(), msg.Headers(), nil)
		if err != nil || e.Headers["Version"] == "" || !ours[e.ID.String()] {
			return nil
		}
		var before, now int
		_, _ = fmt.Sscan(last[e.Key], &before) // none before the first
		if _, err := fmt.Sscan(e.Headers["Version"], &now); err != nil {
			return err
		}
		if now != before+1 {
			s.t.Errorf("account %s: version %d came after %d", e.Key, now, before)
		}
		last[e.Key] = e.Headers["Version"]
		return nil
	}))
}

// testRestore dumps a database and restores it in another cluster, where its xids are ahead of what the cluster gives out,
// until they are passed. In the second round the original publishes on after the dump, which it should not.
func testRestore(t *testing.T) {
	restore(t, "PostgreSQL: dump, restored in another cluster, taken over by outbox adopt", false)
	if full() {
		restore(t, "PostgreSQL: the same, and the original published on after the dump", true)
	}
}

func restore(t *testing.T, fault string, goesOn bool) {
	old, next := devtest.OwnPostgres(t, devstack.PostgresConfig{}), devtest.OwnPostgres(t, devstack.PostgresConfig{})
	scenario(t, fault, options{database: old.URL(), duplicates: 100 * time.Millisecond}, func(s *scene) {
		s.burn(5_000)
		fresh, late := s.leaveUnplanned()
		dumpInto(t, old, next)
		if goesOn {
			s.others, s.failedOver = true, true
			p := s.relay("original", "")
			s.recovered(time.Now())
			s.rest()
			p.kill()
		}
		end, passed := s.length(), s.xid()+1000
		s.must(old.Stop())
		s.move(next.URL())
		if now := s.xid(); now >= passed-1000 {
			t.Fatalf("xid %d is not below those of the dump", now)
		}
		p := s.relay("clone", "")
		if code := p.ended(time.Minute); code != 1 || !strings.Contains(p.log.String(), "outbox adopt") {
			t.Errorf("the relay of a copy ended with %d:\n%s", code, p.log.String())
		}
		if now := s.length(); now != end {
			t.Errorf("the relay of a copy published %d events", now-end)
		}
		began := time.Now()
		s.adopt(fresh + late)
		s.relay("adopted", "")
		s.recovered(began)
		s.row.faults++
		l := s.write(4, 2*time.Millisecond, false)
		for s.xid() < passed { // writers are at work all the time that the old xids are passed
			s.burn(500)
		}
		l.stop()
		s.judge()
		s.versions()
		s.row.note = fmt.Sprintf("%d fresh and %d late events were not planned in the dump", fresh, late)
	})
}

// adopt runs outbox adopt.
func (s *scene) adopt(unplanned int) {
	s.t.Helper()
	p := s.outbox("", "adopt", "--schema", s.table.Schema(), "--yes", "--output", "json")
	code := p.ended(time.Minute)
	if want := fmt.Sprintf(`"planned":%d`, unplanned); code != 0 || !strings.Contains(strings.ReplaceAll(p.log.String(), " ", ""), want) {
		s.t.Errorf("adopt ended with %d, want %s:\n%s", code, want, p.log.String())
	}
}

// leaveUnplanned relays for a while and leaves events that no relay has planned: fresh ones, and those of a transaction
// that ended after younger ones were published.
func (s *scene) leaveUnplanned() (fresh, late int) {
	s.t.Helper()
	p := s.relay("original", "")
	l := s.write(4, 2*time.Millisecond, false)
	s.lengthens(200)
	long, err := s.pool.Begin(s.t.Context())
	s.must(err)
	for fresh, late = 0, 0; late < 50; late++ {
		_, err := s.table.Insert(s.t.Context(), long, event.Event{Subject: fmt.Sprintf("%s.late.%d", s.stream, late)})
		s.must(err)
		pause(s.t.Context(), time.Millisecond) // of load: ids of others come in between
	}
	s.flows()
	l.stop()
	s.rest()
	p.kill()
	s.must(long.Commit(s.t.Context()))
	for ; fresh < 30; fresh++ {
		_, err := s.table.InsertAndCommit(s.t.Context(), s.pool, event.Event{Subject: fmt.Sprintf("%s.fresh.%d", s.stream, fresh)})
		s.must(err)
	}
	return fresh, late
}

func (s *scene) xid() (now int64) {
	s.t.Helper()
	s.must(s.pool.QueryRow(s.t.Context(), "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(&now))
	return now
}

// burn ends n transactions that own an xid.
func (s *scene) burn(n int) {
	s.t.Helper()
	s.exec(fmt.Sprintf("DO $$ BEGIN FOR i IN 1..%d LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$", n))
}

// dumpInto is pg_dump and pg_restore.
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
