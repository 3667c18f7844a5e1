package table_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Runs 10,000 races between falling asleep and committing. In each round one event is inserted at a random moment
// while the sleeper follows the protocol without polling: it waits only while it holds the sleep lock and after a
// last poll found no row, and only a notification wakes it. A wait that reaches its deadline with a row in the table
// is a lost wake.
func TestNoWakeIsLost(t *testing.T) {
	t.Parallel()
	const rounds = 10_000
	tbl, pool := tabletest.New(t)
	session := tabletest.Session(t, tbl, pool)
	round := make(chan time.Duration) // how long the writer waits before it inserts
	writer := new(errgroup.Group)
	writer.Go(func() error {
		conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig.Copy())
		if err != nil {
			return err
		}
		defer conn.Close(context.Background()) //nolint:errcheck // the test has its result
		rng := rand.New(rand.NewPCG(1, 3))
		for head := range round {
			spin(time.Duration(rng.Int64N(int64(head))))
			if _, err := tbl.InsertAndCommit(t.Context(), conn, event.Event{Subject: "a"}); err != nil {
				return err
			}
		}
		return nil
	})
	sleeps, head := 0, time.Millisecond
	for i := range rounds {
		round <- head
		slept, err := sleeper(t.Context(), session)
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		// Adjusted so that the sleeper wins about every fifth race on any machine.
		if slept {
			sleeps++
			head = max(head*96/100, 10*time.Microsecond)
		} else {
			head = min(head*101/100, 50*time.Millisecond)
		}
	}
	close(round)
	if err := writer.Wait(); err != nil {
		t.Fatal(err)
	}
	if sleeps < rounds/10 || sleeps == rounds {
		t.Errorf("asleep in %d of %d rounds: the race has one outcome only", sleeps, rounds)
	}
	t.Logf("asleep in %d of %d rounds, every event seen", sleeps, rounds)
}

// sleeper returns when it has planned an event, and whether it slept before.
func sleeper(ctx context.Context, s *table.Session) (slept bool, err error) {
	page := table.Page{Events: 10, Bytes: 1 << 20}
	for {
		events, err := s.Plan(ctx, page)
		if err != nil || len(events) > 0 {
			return slept, errors.Join(err, s.Awake(ctx))
		}
		if s.Asleep() { // the last poll found no row
			slept = true
			woken, err := s.Wait(ctx, 5*time.Second)
			if err != nil {
				return slept, err
			}
			events, err := s.Plan(ctx, page)
			if !woken && len(events) > 0 {
				return slept, fmt.Errorf("a wake-up was lost: %d rows were there", len(events))
			}
			if err != nil || len(events) > 0 {
				return slept, errors.Join(err, s.Awake(ctx))
			}
			continue
		}
		if _, err := s.Sleep(ctx); err != nil {
			return slept, err
		}
	}
}

// spin busy-waits for a time that is too short for a timer.
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
		runtime.Gosched()
	}
}

// While the relay is awake, no commit notifies; while it sleeps, the first one does.
func TestNotifyOnlyWhileAsleep(t *testing.T) {
	tbl, pool := tabletest.New(t)
	session := tabletest.Session(t, tbl, pool)
	count := func(n int) (notified int) {
		t.Helper()
		listener := tabletest.Session(t, tbl, pool) // a second session that listens
		defer listener.Close()
		for range n {
			if _, err := tbl.InsertAndCommit(t.Context(), pool, event.Event{Subject: "a"}); err != nil {
				t.Fatal(err)
			}
		}
		for {
			woken, err := listener.Wait(t.Context(), 200*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if !woken {
				return notified
			}
			notified++
		}
	}
	if n := count(1000); n != 0 {
		t.Fatalf("%d notifications while awake, want none", n)
	}
	if asleep, err := session.Sleep(t.Context()); err != nil || !asleep {
		t.Fatalf("asleep %v, %v", asleep, err)
	}
	if n := count(10); n == 0 {
		t.Fatal("no notification while asleep")
	}
	if err := session.Awake(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(1000); n != 0 {
		t.Fatalf("%d notifications after waking up, want none", n)
	}
}

// The relay cannot fall asleep while a transaction is open that found it awake.
func TestNoSleepDuringAWrite(t *testing.T) {
	tbl, pool := tabletest.New(t)
	session := tabletest.Session(t, tbl, pool)
	rollback := errors.New("roll back")
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tbl.Insert(t.Context(), tx, event.Event{Subject: "a"}); err != nil {
			return err
		}
		asleep, err := session.Sleep(t.Context())
		if err == nil && asleep {
			t.Error("fell asleep over a writer that skipped its NOTIFY")
		}
		return errors.Join(err, rollback)
	})
	if !errors.Is(err, rollback) {
		t.Fatal(err)
	}
	devtest.Eventually(t, 5*time.Second, "sleep after the writer ended", func() error {
		asleep, err := session.Sleep(t.Context())
		if err == nil && !asleep {
			err = errors.New("still awake")
		}
		return err
	})
}
