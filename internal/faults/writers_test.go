package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func testWriters(t *testing.T) {
	t.Run("unusual", testUnusualWriters)
	t.Run("million", testMillion)
}

// testUnusualWriters adds to the standard load (which stalls, rolls back and uses savepoints) one of each kind of
// transaction that a cursor could miss.
func testUnusualWriters(t *testing.T) {
	const fault = "writers: stalled between insert and commit, prepared, rolled back, savepoints, id jumps, synchronous_commit = off, COPY, many rows"
	runScenario(t, fault, options{}, func(s *scenario) {
		s.startInvalidator("")
		p := s.startRelay("writers", "")
		s.awaitAsleep()
		s.prepareWhileAsleep()
		l := s.startLoad(6, 2*time.Millisecond, false)
		for n := range times(2, 40) {
			s.commitAfterLaterOnes(n)
			s.commitPrepared(n)
			s.skipIDs(1000)
			s.copyEvents(n)
			s.insertMany(n)
			s.commitAsync(n)
			s.row.faults += 6
		}
		s.skipIDs(5 << 22) // beyond all partitions
		s.row.faults++
		s.probe()
		p.Kill()
		s.eventually(30*time.Second, "partitions extended", func(ctx context.Context) error {
			_, err := s.table.Extend(ctx, s.pool, table.DefaultRetention) // fails while a writer uses the default partition
			return err
		})
		s.startRelay("next", "")
		s.probe()
		l.stop()
		s.verify()
		s.checkNothingPrepared()
	})
}

// awaitAsleep waits until the relay sleeps.
func (s *scenario) awaitAsleep() {
	s.t.Helper()
	s.eventually(30*time.Second, "relay asleep", func(ctx context.Context) error {
		var awake bool
		err := s.pool.QueryRow(ctx, s.table.SQL("SELECT pg_try_advisory_xact_lock_shared(hashtextextended('outbox.wake', 0))")).Scan(&awake)
		if err == nil && awake {
			err = errors.New("the relay is awake")
		}
		return err
	})
}

// inTx runs one transaction and commits it.
func (s *scenario) inTx(do func(tx pgx.Tx) error) {
	s.t.Helper()
	s.must(pgx.BeginFunc(s.t.Context(), s.pool, do))
}

// commitAfterLaterOnes inserts an event, and commits it after an event that was inserted later is published.
func (s *scenario) commitAfterLaterOnes(n int) {
	s.t.Helper()
	subject := fmt.Sprintf("%s.stalled.%d", s.stream, n)
	s.inTx(func(tx pgx.Tx) error {
		if _, err := s.table.Insert(s.t.Context(), tx, event.Event{Subject: subject}); err != nil {
			return err
		}
		s.probe()
		return nil
	})
	began := time.Now()
	s.awaitPublished(subject)
	s.row.recoveries = append(s.row.recoveries, time.Since(began))
}

// prepareWhileAsleep tests the one restriction for writers: PREPARE TRANSACTION rejects a transaction with a NOTIFY,
// which an insert sends while the relay sleeps. SET LOCAL outbox.wake = off avoids it.
func (s *scenario) prepareWhileAsleep() {
	s.t.Helper()
	subject := s.stream + ".prepared.asleep"
	prepare := func(before string) error {
		s.awaitAsleep()
		tx, err := s.pool.Begin(s.t.Context())
		s.must(err)
		defer tx.Rollback(s.t.Context()) //nolint:errcheck // has no effect on a prepared transaction
		_, err = tx.Exec(s.t.Context(), before)
		s.must(err)
		_, err = s.table.Insert(s.t.Context(), tx, event.Event{Subject: subject})
		s.must(err)
		_, err = tx.Exec(s.t.Context(), "PREPARE TRANSACTION '"+s.stream+"'")
		return err
	}
	if err := prepare("SELECT 1"); !sqlstate.Is(err, sqlstate.FeatureNotSupported) {
		s.t.Errorf("prepare a transaction with a NOTIFY: got error %v, want 0A000", err)
	}
	s.must(prepare("SET LOCAL outbox.wake = off"))
	s.exec("COMMIT PREPARED '" + s.stream + "'")
	began := time.Now()
	s.awaitPublished(subject)
	s.row.recoveries = append(s.row.recoveries, time.Since(began))
	s.row.faults++
}

// commitPrepared changes an account with a two-phase commit. Every third one rolls back in the second phase.
func (s *scenario) commitPrepared(n int) {
	s.t.Helper()
	name := fmt.Sprintf("%s-%d", s.stream, n)
	s.inTx(func(tx pgx.Tx) error {
		if _, err := tx.Exec(s.t.Context(), "SET LOCAL outbox.wake = off"); err != nil {
			return err
		}
		if err := s.bump(s.t.Context(), tx, n%accounts); err != nil {
			return err
		}
		_, err := tx.Exec(s.t.Context(), "PREPARE TRANSACTION '"+name+"'") // the COMMIT of inTx then finds no transaction, which is a warning
		return err
	})
	s.probe() // a later event is published first
	end := "COMMIT"
	if n%3 == 2 {
		end = "ROLLBACK"
	}
	s.exec(end + " PREPARED '" + name + "'")
}

// checkNothingPrepared requires that the scenario left no prepared transaction.
func (s *scenario) checkNothingPrepared() {
	s.t.Helper()
	var n int
	s.must(s.pool.QueryRow(s.t.Context(), "SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE $1", s.stream+"%").Scan(&n))
	if n > 0 {
		s.t.Errorf("got %d prepared transactions, want 0", n)
	}
}

// skipIDs advances the sequence of ids, as its owner may. A crash advances it by 32.
func (s *scenario) skipIDs(by int64) {
	s.t.Helper()
	s.exec(`SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), nextval(pg_get_serial_sequence('outbox.event', 'id')) + $1)`, by)
}

// copyEvents inserts events with COPY, after another COPY that rolls back.
func (s *scenario) copyEvents(n int) {
	s.t.Helper()
	rows := make([][]any, 200)
	for i := range rows {
		rows[i] = []any{fmt.Sprintf("%s.copied.%d", s.stream, i), []byte("copied")}
	}
	for _, end := range []error{errRollback, nil} {
		err := pgx.BeginFunc(s.t.Context(), s.pool, func(tx pgx.Tx) error {
			_, err := tx.CopyFrom(s.t.Context(), pgx.Identifier{s.table.Schema(), "event"}, []string{"subject", "payload"}, pgx.CopyFromRows(rows))
			if err != nil {
				return err
			}
			return end
		})
		if err != end {
			s.t.Fatalf("COPY %d: got error %v, want %v", n, err, end)
		}
	}
}

// insertMany inserts 300 events in one call.
func (s *scenario) insertMany(n int) {
	s.t.Helper()
	events := make([]event.Event, 300)
	for i := range events {
		events[i] = event.Event{Subject: fmt.Sprintf("%s.many.%d", s.stream, i%7), Key: fmt.Sprintf("many-%d", i%7), Payload: []byte(strings.Repeat("m", n))}
	}
	s.inTx(func(tx pgx.Tx) error {
		_, err := s.table.Insert(s.t.Context(), tx, events...)
		return err
	})
}

// commitAsync commits with synchronous_commit = off.
func (s *scenario) commitAsync(n int) {
	s.t.Helper()
	s.inTx(func(tx pgx.Tx) error {
		if _, err := tx.Exec(s.t.Context(), "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		return s.bump(s.t.Context(), tx, n%accounts)
	})
}
