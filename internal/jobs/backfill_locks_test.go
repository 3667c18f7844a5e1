package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// stock is a table attached as stock.{id}, with ten rows of version 0.
func stock(t *testing.T) (*table.Table, *pgxpool.Pool, string) {
	t.Helper()
	tbl, pool, users := tabletest.Shop(t)
	own, _, _ := strings.Cut(users, ".")
	tabletest.Run(t, pool, fmt.Sprintf("CREATE TABLE %s.stock (id int PRIMARY KEY, v int NOT NULL DEFAULT 0); INSERT INTO %[1]s.stock SELECT generate_series(1, 10)", own))
	if _, err := tbl.Attach(t.Context(), pool, outbox.Attachment{Table: own + ".stock", Subject: "stock.{id}.{op}"}, time.Second); err != nil {
		t.Fatal(err)
	}
	tabletest.Run(t, pool, tbl.SQL("TRUNCATE outbox.event"))
	return tbl, pool, own + ".stock"
}

// begin opens a transaction on a connection of its own.
func begin(t *testing.T, pool *pgxpool.Pool, statements ...string) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	for _, s := range statements {
		if _, err := tx.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

// commit ends a transaction.
func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// blocked waits until a session waits for a row lock.
func blocked(t *testing.T, pool *pgxpool.Pool, query string) {
	t.Helper()
	devtest.Eventually(t, 5*time.Second, query+" waits for a lock", func() error {
		var n int
		err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%'||$1||'%' AND pid <> pg_backend_pid()", query).Scan(&n)
		if err == nil && n == 0 {
			err = errors.New("it does not")
		}
		return err
	})
}

func startBackfill(t *testing.T, tbl *table.Table, pool *pgxpool.Pool, q jobs.BackfillQuery) *jobs.Job {
	t.Helper()
	job, err := jobs.In(tbl).StartBackfill(t.Context(), pool, &q)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// restock restores the ten rows and plans their events.
func restock(t *testing.T, pool *pgxpool.Pool, session *table.Session, stock string) {
	t.Helper()
	tabletest.Run(t, pool, "TRUNCATE "+stock, "INSERT INTO "+stock+" SELECT generate_series(1, 10)")
	tabletest.Captured(t, session)
}

// events returns the events of a backfill of the rows with version 0. others replaces events by row; "" leaves one out.
func events(others map[int]string) (out []string) {
	for id := 1; id <= 10; id++ {
		text, other := others[id]
		if !other {
			text = fmt.Sprintf(`stock.%d.updated %[1]d update {"v": 0, "id": %[1]d}`, id)
		}
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}

// A step that meets the row of an open transaction waits, and then takes the row as it is after the commit, or not at
// all if it no longer matches. The next step begins where it would have begun without the wait.
func TestBackfillWaitsForAWriter(t *testing.T) {
	tbl, pool, stock := stock(t)
	session := tabletest.Session(t, tbl, pool)
	tabletest.Run(t, pool, tbl.SQL("ALTER FUNCTION outbox.backfill_step SET lock_timeout = '20s'")) // wait in one step instead of retrying with a newer snapshot
	two := `stock.2.updated 2 update {"v": 7, "id": 2}`
	fifty := `stock.50.updated 50 update {"v": 0, "id": 50}`
	for _, c := range []struct {
		write string
		want  []string
	}{
		{"UPDATE %s SET v = 7 WHERE id = 2", append([]string{two}, events(map[int]string{2: two})...)},
		{"UPDATE %s SET v = 8 WHERE id = 3", append([]string{`stock.3.updated 3 update {"v": 8, "id": 3}`}, events(map[int]string{3: ""})...)}, // no longer meets the condition
		{"DELETE FROM %s WHERE id = 4", append([]string{`stock.4.deleted 4 delete {"v": 0, "id": 4}`}, events(map[int]string{4: ""})...)},
		// The last row of the page gets another key: the next page begins after 5, not after 50.
		{"UPDATE %s SET id = 50 WHERE id = 5", append(append([]string{fifty, `stock.5.updated 5 update {"v": 0, "id": 5}`}, events(map[int]string{5: ""})...), fifty)},
	} {
		restock(t, pool, session, stock)
		job := startBackfill(t, tbl, pool, jobs.BackfillQuery{Table: stock, Where: "v <> 8"})
		writer := begin(t, pool, fmt.Sprintf(c.write, stock))
		var group errgroup.Group
		group.Go(func() error { return jobs.In(tbl).BackfillStep(t.Context(), pool, job, 5, false) })
		blocked(t, pool, ".backfill_step")
		commit(t, writer)
		if err := group.Wait(); err != nil {
			t.Fatalf("%s: %v", c.write, err)
		}
		runJob(t, tbl, pool, job, 5)
		t.Log(c.write)
		tabletest.Expect(t, tabletest.Captured(t, session), c.want...)
	}
}

// If a row moves to another partition while a step waits for it, the step fails and is retried.
func TestBackfillOfARowThatMoves(t *testing.T) {
	tbl, pool, stock := stock(t)
	own, _, _ := strings.Cut(stock, ".")
	tabletest.Run(t, pool, tbl.SQL("ALTER FUNCTION outbox.backfill_step SET lock_timeout = '20s'"),
		fmt.Sprintf("CREATE TABLE %s.parts (id int PRIMARY KEY) PARTITION BY RANGE (id)", own),
		fmt.Sprintf("CREATE TABLE %s.p1 PARTITION OF %[1]s.parts FOR VALUES FROM (0) TO (10); CREATE TABLE %[1]s.p2 PARTITION OF %[1]s.parts DEFAULT", own),
		fmt.Sprintf("INSERT INTO %s.parts SELECT generate_series(1, 5)", own))
	job := startBackfill(t, tbl, pool, jobs.BackfillQuery{Table: own + ".parts", Subject: "p.{id}"})
	writer := begin(t, pool, fmt.Sprintf("UPDATE %s.parts SET id = 20 WHERE id = 2", own))
	b := jobs.In(tbl).NewBackfill(job, func(string) {})
	var group errgroup.Group
	group.Go(func() error { return b.Step(t.Context(), pool, 5) })
	blocked(t, pool, ".backfill_step")
	commit(t, writer)
	if err := group.Wait(); err != nil || job.Last.N != 0 {
		t.Fatalf("the step that waited: %+v, %v", job.Last, err)
	}
	runJob(t, tbl, pool, job, 5)
	tabletest.Expect(t, tabletest.Captured(t, tabletest.Session(t, tbl, pool)), `p.1 1 update {"id": 1}`, `p.3 3 update {"id": 3}`, `p.4 4 update {"id": 4}`, `p.5 5 update {"id": 5}`, `p.20 20 update {"id": 20}`)
}

// A writer that meets the row of a step waits for the commit of the step. Its event comes after that of the backfill.
func TestWriterWaitsForABackfill(t *testing.T) {
	tbl, pool, stock := stock(t)
	session := tabletest.Session(t, tbl, pool)
	restock(t, pool, session, stock)
	job := startBackfill(t, tbl, pool, jobs.BackfillQuery{Table: stock})
	step := begin(t, pool)
	if err := jobs.In(tbl).BackfillStep(t.Context(), step, job, 5, false); err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	group.Go(func() error {
		_, err := pool.Exec(t.Context(), "UPDATE "+stock+" SET v = 1 WHERE id = 5 /* the writer */")
		return err
	})
	blocked(t, pool, "/* the writer */")
	tabletest.Run(t, pool, "UPDATE "+stock+" SET v = 1 WHERE id = 6", "DELETE FROM "+stock+" WHERE id = 7", "INSERT INTO "+stock+" VALUES (0), (11)") // these do not wait
	commit(t, step)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	runJob(t, tbl, pool, job, 5)
	six := `stock.6.updated 6 update {"v": 1, "id": 6}`
	want := append(events(nil)[:5], six, `stock.7.deleted 7 delete {"v": 0, "id": 7}`,
		`stock.0.inserted 0 insert {"v": 0, "id": 0}`, `stock.11.inserted 11 insert {"v": 0, "id": 11}`, // before the position of the backfill: only the event of the writer
		`stock.5.updated 5 update {"v": 1, "id": 5}`)
	tabletest.Expect(t, tabletest.Captured(t, session), append(want, append(events(map[int]string{1: "", 2: "", 3: "", 4: "", 5: "", 6: six, 7: ""}), `stock.11.updated 11 update {"v": 0, "id": 11}`)...)...)
}

// If a step and a writer that locks rows in another order deadlock, the step fails and not the writer.
func TestBackfillYieldsInADeadlock(t *testing.T) {
	tbl, pool, stock := stock(t)
	session := tabletest.Session(t, tbl, pool)
	restock(t, pool, session, stock)
	job := startBackfill(t, tbl, pool, jobs.BackfillQuery{Table: stock})
	writer := begin(t, pool, "UPDATE "+stock+" SET v = 1 WHERE id = 5")
	var group errgroup.Group
	done := make(chan struct{})
	group.Go(func() error {
		for {
			select {
			case <-done:
				return nil
			default:
			}
			if err := jobs.In(tbl).BackfillStep(t.Context(), pool, job, 5, false); !sqlstate.Is(err, sqlstate.LockNotAvailable) {
				return fmt.Errorf("a step that meets a lock: %w", err)
			}
		}
	})
	blocked(t, pool, ".backfill_step")
	_, err := writer.Exec(t.Context(), "UPDATE "+stock+" SET v = v + 1 WHERE id = 1") // locked by the step
	close(done)
	if err := errors.Join(err, group.Wait()); err != nil {
		t.Fatal(err)
	}
	commit(t, writer)
	runJob(t, tbl, pool, job, 5)
	var n int
	for _, e := range tabletest.Captured(t, session) {
		if !strings.Contains(e, "stock.1.") && !strings.Contains(e, "stock.5.") {
			n++
		}
	}
	if n != 8 || job.Last.Events != 10 {
		t.Errorf("%d events of the other rows, %+v", n, job.Last)
	}
}

// A backfill skips a row that stays locked until the end. If it is still locked then, the error names the
// transaction, and the job can continue.
func TestBackfillSkipsALockedRow(t *testing.T) {
	tbl, pool, stock := stock(t)
	session := tabletest.Session(t, tbl, pool)
	restock(t, pool, session, stock)
	job := startBackfill(t, tbl, pool, jobs.BackfillQuery{Table: stock})
	writer := begin(t, pool, "SET application_name = 'the holder'", "UPDATE "+stock+" SET v = 1 WHERE id = 3")
	var notes []string
	b := jobs.In(tbl).NewBackfill(job, func(note string) { notes = append(notes, note) })
	var err error
	for err == nil && !job.Last.Done {
		if job.Last.Events == 9 {
			b.Patience = 300 * time.Millisecond
		}
		err = b.Step(t.Context(), pool, 5)
	}
	if !errors.Is(err, jobs.ErrLocked) || !strings.Contains(err.Error(), "or row (3)") || !strings.Contains(err.Error(), "the holder (pid ") || !strings.Contains(strings.Join(notes, "|"), "waiting for locked rows, beginning at the row after key (2)") {
		t.Fatalf("%v; told %q", err, notes)
	}
	commit(t, writer)
	found, err := jobs.In(tbl).Job(t.Context(), pool, job.ID)
	if err != nil {
		t.Fatal(err)
	}
	runJob(t, tbl, pool, found, 5)
	three := `stock.3.updated 3 update {"v": 1, "id": 3}`
	tabletest.Expect(t, tabletest.Captured(t, session), append(append([]string{three}, events(map[int]string{3: ""})...), three)...)
	if found.Last.Events != 10 {
		t.Errorf("%+v", found.Last)
	}
}
