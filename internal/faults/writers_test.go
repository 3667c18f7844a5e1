package faults

import (
	"context"
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

// testUnusualWriters has, beside the standard load (which stalls, rolls back and uses savepoints), one of every kind of
// transaction that a cursor could trip over.
func testUnusualWriters(t *testing.T) {
	const fault = "writers: stalled between insert and commit, prepared, rolled back, savepoints, id jumps, synchronous_commit = off, COPY, many rows"
	scenario(t, fault, options{}, func(s *scene) {
		s.invalidator("")
		p := s.relay("writers", "")
		s.asleep()
		s.preparedWhileAsleep()
		l := s.write(6, 2*time.Millisecond, false)
		for n := range times(2, 40) {
			s.stalled(n)
			s.prepared(n)
			s.jump(1000)
			s.copied(n)
			s.many(n)
			s.lazy(n)
			s.row.faults += 6
		}
		s.jump(5 << 22) // beyond every partition
		s.row.faults++
		s.flows()
		p.kill()
		s.eventually(30*time.Second, "partitions are made behind the rows that are there", func(ctx context.Context) error {
			_, err := s.table.Extend(ctx, s.pool, table.DefaultRetention) // fails while a writer is at work in the net
			return err
		})
		s.relay("next", "")
		s.flows()
		l.stop()
		s.judge()
		s.nothingPrepared()
	})
}

// asleep waits until the relay sleeps.
func (s *scene) asleep() {
	s.t.Helper()
	s.eventually(30*time.Second, "the relay sleeps", func(ctx context.Context) error {
		var awake bool
		err := s.pool.QueryRow(ctx, s.table.SQL("SELECT pg_try_advisory_xact_lock_shared(hashtextextended('outbox.wake', 0))")).Scan(&awake)
		if err == nil && awake {
			err = fmt.Errorf("it is awake")
		}
		return err
	})
}

// arrives waits until an event of this subject is in the stream.
func (s *scene) arrives(subject string) {
	s.t.Helper()
	s.eventually(time.Minute, subject+" is published", func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.stream)
		if err == nil {
			_, err = stream.GetLastMsgForSubject(ctx, subject)
		}
		return err
	})
}

// in runs one transaction that commits.
func (s *scene) in(do func(tx pgx.Tx) error) {
	s.t.Helper()
	s.must(pgx.BeginFunc(s.t.Context(), s.pool, do))
}

// stalled commits only after events that were inserted later are published.
func (s *scene) stalled(n int) {
	s.t.Helper()
	subject := fmt.Sprintf("%s.stalled.%d", s.stream, n)
	s.in(func(tx pgx.Tx) error {
		if _, err := s.table.Insert(s.t.Context(), tx, event.Event{Subject: subject}); err != nil {
			return err
		}
		s.flows()
		return nil
	})
	began := time.Now()
	s.arrives(subject)
	s.row.recoveries = append(s.row.recoveries, time.Since(began))
}

// preparedWhileAsleep is the one thing that a writer has to know: PREPARE TRANSACTION refuses a NOTIFY.
func (s *scene) preparedWhileAsleep() {
	s.t.Helper()
	subject := s.stream + ".prepared.asleep"
	prepare := func(before string) error {
		s.asleep()
		tx, err := s.pool.Begin(s.t.Context())
		s.must(err)
		defer tx.Rollback(s.t.Context()) //nolint:errcheck // what is prepared is not of this transaction any more
		_, err = tx.Exec(s.t.Context(), before)
		s.must(err)
		_, err = s.table.Insert(s.t.Context(), tx, event.Event{Subject: subject})
		s.must(err)
		_, err = tx.Exec(s.t.Context(), "PREPARE TRANSACTION '"+s.stream+"'")
		return err
	}
	if err := prepare("SELECT 1"); !sqlstate.Is(err, sqlstate.FeatureNotSupported) {
		s.t.Errorf("prepared with a NOTIFY: %v", err)
	}
	s.must(prepare("SET LOCAL outbox.wake = off"))
	s.exec("COMMIT PREPARED '" + s.stream + "'")
	began := time.Now()
	s.arrives(subject)
	s.row.recoveries = append(s.row.recoveries, time.Since(began))
	s.row.faults++
}

// prepared changes an account in two phases; every third rolls back in the second.
func (s *scene) prepared(n int) {
	s.t.Helper()
	name := fmt.Sprintf("%s-%d", s.stream, n)
	s.in(func(tx pgx.Tx) error {
		if _, err := tx.Exec(s.t.Context(), "SET LOCAL outbox.wake = off"); err != nil {
			return err
		}
		if err := s.bump(s.t.Context(), tx, n%accounts); err != nil {
			return err
		}
		_, err := tx.Exec(s.t.Context(), "PREPARE TRANSACTION '"+name+"'") // and COMMIT finds no transaction, which is a warning
		return err
	})
	s.flows() // others overtake it meanwhile
	end := "COMMIT"
	if n%3 == 2 {
		end = "ROLLBACK"
	}
	s.exec(end + " PREPARED '" + name + "'")
}

// nothingPrepared makes sure that no scenario leaves one.
func (s *scene) nothingPrepared() {
	s.t.Helper()
	var n int
	s.must(s.pool.QueryRow(s.t.Context(), "SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE $1", s.stream+"%").Scan(&n))
	if n > 0 {
		s.t.Errorf("%d transactions left prepared", n)
	}
}

// jump moves the sequence of ids ahead, as its owner may, and as a crash does by 32.
func (s *scene) jump(by int64) {
	s.t.Helper()
	s.exec(`SELECT setval(pg_get_serial_sequence('outbox.event', 'id'), nextval(pg_get_serial_sequence('outbox.event', 'id')) + $1)`, by)
}

// copied writes by COPY, and rolls another COPY back.
func (s *scene) copied(n int) {
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
			s.t.Fatalf("copy %d: %v", n, err)
		}
	}
}

// many inserts several rows by one statement.
func (s *scene) many(n int) {
	s.t.Helper()
	events := make([]event.Event, 300)
	for i := range events {
		events[i] = event.Event{Subject: fmt.Sprintf("%s.many.%d", s.stream, i%7), Key: fmt.Sprintf("many-%d", i%7), Payload: []byte(strings.Repeat("m", n))}
	}
	s.in(func(tx pgx.Tx) error {
		_, err := s.table.Insert(s.t.Context(), tx, events...)
		return err
	})
}

// lazy commits without waiting for the disk.
func (s *scene) lazy(n int) {
	s.t.Helper()
	s.in(func(tx pgx.Tx) error {
		if _, err := tx.Exec(s.t.Context(), "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		return s.bump(s.t.Context(), tx, n%accounts)
	})
}
