package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// testPostgres breaks a server of its own: what is not flushed by a commit that waits stays in memory for 10 s there, and few
// may connect.
func testPostgres(t *testing.T) {
	server := devtest.OwnPostgres(t, devstack.PostgresConfig{Settings: map[string]string{
		"max_connections": "40", "wal_writer_delay": "10s",
	}})
	t.Run("crashes", func(t *testing.T) { testCrashes(t, server) })
	t.Run("takenback", func(t *testing.T) { testTakenBack(t, server) })
	t.Run("exhausted", func(t *testing.T) { testExhausted(t, server) })
	if full() {
		t.Run("diskfull", func(t *testing.T) { testDiskFull(t, server) })
	}
	t.Run("sessions", testSessions)
	t.Run("halfopen", testHalfOpen)
	t.Run("pooler", testPooler)
}

// database makes one on a server of the test's own.
func database(t *testing.T, server *devstack.Postgres, name, with string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // whatever it says, it is gone
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name+" "+with); err != nil {
		t.Fatal(err)
	}
	return server.URLFor(name)
}

func testCrashes(t *testing.T, server *devstack.Postgres) {
	scenario(t, "PostgreSQL: crash (SIGQUIT) and restart, under load", options{database: database(t, server, "crashes", "")}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 41))
		s.invalidator("")
		s.relay("crashes", "")
		l := s.write(8, 2*time.Millisecond, true)
		for range times(2, 12) {
			s.flows()
			pause(t.Context(), time.Duration(rng.IntN(300))*time.Millisecond)
			began := time.Now()
			s.must(server.Kill())
			s.must(server.Start(t.Context()))
			s.recovered(began)
			s.row.faults++
		}
		l.stop()
		s.judge()
	})
}

// testTakenBack has writers whose commits a crash takes back, though they were told of them. What was published must
// not be among those.
func testTakenBack(t *testing.T, server *devstack.Postgres) {
	url := database(t, server, "takenback", "")
	scenario(t, "PostgreSQL: crash, with writers that do not wait for the disk", options{database: url}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 42))
		s.exec("ALTER DATABASE takenback SET synchronous_commit = off") // of the relay too, as far as it lets that happen
		s.pool.Reset()
		s.relay("takenback", "")
		told, rows := int64(0), int64(0)
		for range times(3, 16) {
			l := s.write(8, time.Millisecond, true)
			s.flows()
			pause(t.Context(), time.Duration(rng.IntN(100))*time.Millisecond)
			s.must(server.Kill())
			l.stop()
			began := time.Now()
			s.must(server.Start(t.Context()))
			s.recovered(began)
			s.row.faults++
			told += l.committed.Load()
		}
		v := s.judge()
		s.must(s.pool.QueryRow(t.Context(), "SELECT count(*) FROM outbox.event WHERE subject LIKE '%.account.%'").Scan(&rows))
		s.row.note = fmt.Sprintf("%d commits taken back, none of them was published", told-rows)
		if v.Foreign > 0 {
			t.Errorf("%d events are published, and the database does not have them", v.Foreign)
		}
	})
}

// testExhausted takes every connection, and the relay's away.
func testExhausted(t *testing.T, server *devstack.Postgres) {
	scenario(t, "PostgreSQL: no connection left", options{database: database(t, server, "exhausted", "")}, func(s *scene) {
		p := s.relay("exhausted", "")
		for n := range times(1, 5) {
			s.flows()
			var taken []*pgx.Conn
			s.eventually(30*time.Second, "the relay finds no connection", func(ctx context.Context) error {
				for {
					conn, err := pgx.Connect(ctx, s.databaseURL)
					if sqlstate.Is(err, sqlstate.TooManyConnections) {
						break
					}
					if err != nil {
						return err
					}
					taken = append(taken, conn)
				}
				s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'outbox relay%'`)
				if seen := strings.Count(p.log.String(), sqlstate.TooManyConnections); seen <= n {
					return fmt.Errorf("%d connections taken, %d refusals logged", len(taken), seen)
				}
				return nil
			})
			s.backlog(100)
			began := time.Now()
			for _, conn := range taken {
				s.must(conn.Close(t.Context()))
			}
			s.recovered(began)
			s.row.faults++
		}
		s.judge()
	})
}

// testDiskFull has the whole database on a disk that fills up. Writers get errors, and so does the relay: what it has to
// plan has a hole behind every id, so that its batch needs pages.
func testDiskFull(t *testing.T, server *devstack.Postgres) {
	if err := server.SmallTablespace(t.Context(), "small", 64<<20); err != nil {
		t.Fatal(err) // ErrNoMount says what it needs
	}
	url := database(t, server, "diskfull", "TABLESPACE small")
	scenario(t, "PostgreSQL: disk full", options{database: url}, func(s *scene) {
		s.invalidator("")
		p := s.relay("full", "")
		l := s.write(4, 2*time.Millisecond, true)
		told := 0
		for range times(1, 3) {
			s.flows()
			met := strings.Count(p.log.String(), sqlstate.DiskFull)
			p.signal(syscall.SIGSTOP)
			s.exec(`INSERT INTO outbox.event (subject) SELECT $1 || (SELECT max(nextval(pg_get_serial_sequence('outbox.event', 'id'))) FROM generate_series(1, 1 + (random() * 3 + 0 * g)::int))
				FROM generate_series(1, 60000) AS g`, s.stream+".hole.")
			s.exec("CREATE TABLE filler (v text) WITH (autovacuum_enabled = off)")
			fill := func(ctx context.Context) error {
				_, err := s.pool.Exec(ctx, "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
				return err
			}
			for range 3 { // the server itself makes room at first: it removes a cache file
				if err := fill(t.Context()); !sqlstate.Is(err, sqlstate.DiskFull) {
					t.Fatalf("fill the disk: %v", err)
				}
			}
			p.signal(syscall.SIGCONT)
			full := time.Now()
			s.eventually(time.Minute, "relay and writers are told that the disk is full", func(ctx context.Context) error {
				_ = fill(ctx)
				_, err := s.table.InsertAndCommit(ctx, s.pool, event.Event{Subject: s.stream + ".large", Payload: make([]byte, 500_000)})
				if !sqlstate.Is(err, sqlstate.DiskFull) {
					return fmt.Errorf("a writer got %w", err)
				}
				if strings.Count(p.log.String(), sqlstate.DiskFull) == met && time.Since(full) < 5*time.Second {
					return errors.New("the relay does not know") // it need not: pages it has may do for its plan
				}
				return nil
			})
			if strings.Count(p.log.String(), sqlstate.DiskFull) > met {
				told++
			}
			began := time.Now()
			s.exec("DROP TABLE filler")
			s.recovered(began)
			s.row.faults++
		}
		l.stop()
		s.row.note = fmt.Sprintf("the relay could not plan %d times", told)
		s.judge()
	})
}

// testSessions ends the connections of the relay, all of them, again and again.
func testSessions(t *testing.T) {
	scenario(t, "PostgreSQL: the relay's connections terminated, under load", options{}, func(s *scene) {
		s.invalidator("")
		s.relay("sessions", "")
		l := s.write(6, 2*time.Millisecond, false)
		for range times(3, 40) {
			s.flows()
			began := time.Now()
			s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'outbox relay%'`)
			s.recovered(began)
			s.row.faults++
		}
		l.stop()
		s.judge()
	})
}

// behind puts a proxy between programs that start from now on and the database.
func (s *scene) behind() *faultnet.Proxy {
	s.t.Helper()
	u, err := url.Parse(s.databaseURL)
	s.must(err)
	proxy, err := faultnet.Listen(u.Host)
	s.must(err)
	s.t.Cleanup(func() { _ = proxy.Close() }) // whatever it says, it is gone
	u.Host = proxy.Addr()
	s.databaseURL = u.String()
	return proxy
}

// testHalfOpen has the network swallow what goes to or from the session that listens, which stays up.
func testHalfOpen(t *testing.T) {
	scenario(t, "PostgreSQL: half-open connection of the session that listens", options{}, func(s *scene) {
		direct := s.databaseURL
		s.invalidator("")
		proxy := s.behind()
		leader := s.relay("halfopen", "")
		faults := []func(){
			func() { proxy.Drop(faultnet.ToClient) }, // notifications, and what it asks
			func() { proxy.Stall(faultnet.ToServer); proxy.Stall(faultnet.ToClient) },
			func() { proxy.Drop(faultnet.ToServer) },
		}
		for n := range times(3, 16) {
			s.flows()
			l := s.write(4, 5*time.Millisecond, false)
			faults[n%len(faults)]()
			pause(t.Context(), 500*time.Millisecond) // of load
			began := time.Now()
			proxy.Heal()
			proxy.Cut()
			s.recovered(began)
			s.row.faults++
			l.stop()
		}
		if full() { // nothing heals: PostgreSQL ends the session, another relay leads
			s.databaseURL = direct
			s.relay("standby", "")
			began := time.Now()
			proxy.Stall(faultnet.ToServer)
			proxy.Stall(faultnet.ToClient)
			s.recovered(began)
			s.row.faults++
			s.row.note = "take-over by a standby: " + short(time.Since(began))
			leader.kill()
		}
		s.judge()
	})
}

// testPooler has writers behind a pooler in transaction mode, which they may be, and a relay, which says that it cannot.
func testPooler(t *testing.T) {
	scenario(t, "PostgreSQL: PgBouncer in transaction mode", options{}, func(s *scene) {
		direct := s.databaseURL
		pooler := devtest.OwnPgBouncer(t, devstack.PgBouncerConfig{Postgres: devtest.Postgres(t)})
		s.databaseURL = pooler.URL()
		p := s.relay("pooled", "")
		if code := p.ended(time.Minute); code != 1 || !strings.Contains(p.log.String(), "a pooler in transaction mode stands between; give a direct URL") {
			t.Errorf("the relay behind a pooler ended with %d:\n%s", code, p.log.String())
		}
		s.row.faults++
		s.databaseURL = direct
		s.relay("direct", "")
		s.invalidator("")
		for range times(1, 3) {
			// No statement is prepared under a name: the next transaction has another backend.
			for _, mode := range []string{"exec", "simple_protocol"} {
				s.writers = pooler.URL() + "&default_query_exec_mode=" + mode
				l := s.write(6, 2*time.Millisecond, false)
				s.flows()
				pause(t.Context(), 300*time.Millisecond) // of load
				s.flows()
				l.stop()
				if l.committed.Load() == 0 {
					t.Errorf("%s: nothing committed", mode)
				}
			}
		}
		s.judge()
	})
}
