package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// testPostgres injects faults into its own server, which flushes asynchronous commits only every 10 s and accepts few
// connections.
func testPostgres(t *testing.T) {
	server := devtest.OwnPostgres(t, devstack.PostgresConfig{Settings: map[string]string{
		"max_connections": "40", "wal_writer_delay": "10s",
	}})
	t.Run("crashes", func(t *testing.T) { testCrashes(t, server) })
	t.Run("lostcommits", func(t *testing.T) { testLostCommits(t, server) })
	t.Run("exhausted", func(t *testing.T) { testExhausted(t, server) })
	if full() {
		t.Run("diskfull", func(t *testing.T) { testDiskFull(t, server) })
	}
	t.Run("sessions", testSessions)
	t.Run("halfopen", testHalfOpen)
	t.Run("pooler", testPooler)
}

// createDatabase creates a database on a server of the test, and returns its URL.
func createDatabase(t *testing.T, server *devstack.Postgres, name, with string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // the connection is closed in either case
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name+" "+with); err != nil {
		t.Fatal(err)
	}
	return server.URLFor(name)
}

func testCrashes(t *testing.T, server *devstack.Postgres) {
	runScenario(t, "PostgreSQL: crash (SIGQUIT) and restart, under load", options{database: createDatabase(t, server, "crashes", "")}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 41))
		s.startInvalidator("")
		s.startRelay("crashes", "")
		l := s.startLoad(8, 2*time.Millisecond, true)
		for range times(2, 12) {
			s.probe()
			pause(t.Context(), time.Duration(rng.IntN(300))*time.Millisecond)
			began := time.Now()
			s.must(server.Kill())
			s.must(server.Start(t.Context()))
			s.measureRecovery(began)
			s.row.faults++
		}
		l.stop()
		s.verify()
	})
}

// testLostCommits has writers with synchronous_commit = off, so that a crash loses commits that succeeded for the
// writer. No event of a lost commit may be published.
func testLostCommits(t *testing.T, server *devstack.Postgres) {
	url := createDatabase(t, server, "lostcommits", "")
	runScenario(t, "PostgreSQL: crash, with writers that use synchronous_commit = off", options{database: url}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 42))
		s.exec("ALTER DATABASE lostcommits SET synchronous_commit = off") // also for the relay, which must override it
		s.pool.Reset()
		s.startRelay("lostcommits", "")
		committed, rows := int64(0), int64(0)
		for range times(3, 16) {
			l := s.startLoad(8, time.Millisecond, true)
			s.probe()
			pause(t.Context(), time.Duration(rng.IntN(100))*time.Millisecond)
			s.must(server.Kill())
			l.stop()
			began := time.Now()
			s.must(server.Start(t.Context()))
			s.measureRecovery(began)
			s.row.faults++
			committed += l.committed.Load()
		}
		v := s.verify()
		s.must(s.pool.QueryRow(t.Context(), "SELECT count(*) FROM outbox.event WHERE subject LIKE '%.account.%'").Scan(&rows))
		s.row.note = fmt.Sprintf("%d commits lost, none of them was published", committed-rows)
		if v.Foreign > 0 {
			t.Errorf("got %d published events that the database does not have, want 0", v.Foreign)
		}
	})
}

// testExhausted opens all connections that the server accepts, and terminates those of the relay.
func testExhausted(t *testing.T, server *devstack.Postgres) {
	runScenario(t, "PostgreSQL: no connection left", options{database: createDatabase(t, server, "exhausted", "")}, func(s *scenario) {
		p := s.startRelay("exhausted", "")
		for range times(1, 5) {
			s.probe()
			mark := p.log.Mark()
			var taken []*pgx.Conn
			s.eventually(30*time.Second, "relay without a connection", func(ctx context.Context) error {
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
				if err := s.terminateRelaySessions(ctx); err != nil {
					return err
				}
				if !strings.Contains(p.log.Since(mark), sqlstate.TooManyConnections) {
					return fmt.Errorf("%d connections opened, and the relay has logged no rejected one", len(taken))
				}
				return nil
			})
			s.insertBacklog(100)
			began := time.Now()
			for _, conn := range taken {
				s.must(conn.Close(t.Context()))
			}
			s.measureRecovery(began)
			s.row.faults++
		}
		s.verify()
	})
}

// testDiskFull fills the disk that contains the whole database. Writers get errors, and so may the relay: the ids that
// it plans have gaps after each id, so that the row of the batch is large and needs new pages.
func testDiskFull(t *testing.T, server *devstack.Postgres) {
	if err := server.SmallTablespace(t.Context(), "small", 64<<20); err != nil {
		t.Fatal(err) // ErrNoMount contains the requirements
	}
	url := createDatabase(t, server, "diskfull", "TABLESPACE small")
	runScenario(t, "PostgreSQL: disk full", options{database: url}, func(s *scenario) {
		s.startInvalidator("")
		p := s.startRelay("full", "")
		l := s.startLoad(4, 2*time.Millisecond, true)
		failed := 0
		for range times(1, 3) {
			s.probe()
			mark := p.log.Mark()
			p.signal(syscall.SIGSTOP)
			s.exec(`INSERT INTO outbox.event (subject) SELECT $1 || (SELECT max(nextval(pg_get_serial_sequence('outbox.event', 'id'))) FROM generate_series(1, 1 + (random() * 3 + 0 * g)::int))
				FROM generate_series(1, 60000) AS g`, s.stream+".hole.")
			s.exec("CREATE TABLE filler (v text) WITH (autovacuum_enabled = off)")
			fill := func(ctx context.Context) error {
				_, err := s.pool.Exec(ctx, "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
				return err
			}
			for range 3 { // the server first frees space itself by removing a cache file
				if err := fill(t.Context()); !sqlstate.Is(err, sqlstate.DiskFull) {
					t.Fatalf("fill the disk: got error %v, want disk_full (53100)", err)
				}
			}
			p.signal(syscall.SIGCONT)
			full := time.Now()
			s.eventually(time.Minute, "disk full for relay and writers", func(ctx context.Context) error {
				_ = fill(ctx)
				_, err := s.table.InsertAndCommit(ctx, s.pool, event.Event{Subject: s.stream + ".large", Payload: make([]byte, 500_000)})
				if !sqlstate.Is(err, sqlstate.DiskFull) {
					return fmt.Errorf("insert: got error %w, want disk_full (53100)", err)
				}
				if !strings.Contains(p.log.Since(mark), sqlstate.DiskFull) && time.Since(full) < 5*time.Second {
					return errors.New("the relay has logged no 53100") // it need not: its plan may fit into existing pages
				}
				return nil
			})
			if strings.Contains(p.log.Since(mark), sqlstate.DiskFull) {
				failed++
			}
			began := time.Now()
			s.exec("DROP TABLE filler")
			s.measureRecovery(began)
			s.row.faults++
		}
		l.stop()
		s.row.note = fmt.Sprintf("planning failed %d times", failed)
		s.verify()
	})
}

// testSessions repeatedly terminates all database connections of the relay.
func testSessions(t *testing.T) {
	runScenario(t, "PostgreSQL: the relay's connections terminated, under load", options{}, func(s *scenario) {
		s.startInvalidator("")
		s.startRelay("sessions", "")
		l := s.startLoad(6, 2*time.Millisecond, false)
		for range times(3, 40) {
			s.probe()
			began := time.Now()
			s.must(s.terminateRelaySessions(t.Context()))
			s.measureRecovery(began)
			s.row.faults++
		}
		l.stop()
		s.verify()
	})
}

// testHalfOpen has the network drop or hold back the bytes of the relay's database connections, which stay open.
func testHalfOpen(t *testing.T) {
	runScenario(t, "PostgreSQL: half-open connections of the relay", options{}, func(s *scenario) {
		direct := s.databaseURL
		s.startInvalidator("")
		var proxy *faultnet.Proxy
		proxy, s.databaseURL = devtest.Proxy(t, direct)
		leader := s.startRelay("halfopen", "")
		faults := []func(){
			func() { proxy.Drop(faultnet.ToClient) }, // notifications and results
			func() { proxy.Stall(faultnet.ToServer); proxy.Stall(faultnet.ToClient) },
			func() { proxy.Drop(faultnet.ToServer) },
		}
		for n := range times(3, 16) {
			s.probe()
			l := s.startLoad(4, 5*time.Millisecond, false)
			faults[n%len(faults)]()
			pause(t.Context(), 500*time.Millisecond) // of load during the fault
			began := time.Now()
			proxy.Heal()
			proxy.Cut()
			s.measureRecovery(began)
			s.row.faults++
			l.stop()
		}
		if full() { // the fault stays: PostgreSQL ends the session, and another relay becomes leader
			s.databaseURL = direct
			s.startRelay("standby", "")
			began := time.Now()
			proxy.Stall(faultnet.ToServer)
			proxy.Stall(faultnet.ToClient)
			s.measureRecovery(began)
			s.row.faults++
			s.row.note = "take-over by a standby: " + short(time.Since(began))
			leader.Kill()
		}
		s.verify()
	})
}

// testPooler connects writers through a pooler in transaction mode, which is supported, and a relay, which must report
// that it is not.
func testPooler(t *testing.T) {
	runScenario(t, "PostgreSQL: PgBouncer in transaction mode", options{}, func(s *scenario) {
		direct := s.databaseURL
		pooler := devtest.OwnPgBouncer(t, devstack.PgBouncerConfig{Postgres: devtest.Postgres(t)})
		s.databaseURL = pooler.URL()
		p := s.startRelay("pooled", "")
		p.wantExit(time.Minute, 1, "a pooler in transaction mode; use the URL of PostgreSQL itself")
		s.row.faults++
		s.databaseURL = direct
		s.startRelay("direct", "")
		s.startInvalidator("")
		for range times(1, 3) {
			// These modes use no named prepared statements, which the backend of the next transaction would not have.
			for _, mode := range []string{"exec", "simple_protocol"} {
				s.writers = pooler.URL() + "&default_query_exec_mode=" + mode
				l := s.startLoad(6, 2*time.Millisecond, false)
				s.probe()
				pause(t.Context(), 300*time.Millisecond) // of load through the pooler
				s.probe()
				l.stop()
				if l.committed.Load() == 0 {
					t.Errorf("query mode %s: got 0 committed events, want some", mode)
				}
			}
		}
		s.verify()
	})
}
