package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// kept is an outbox with events to replay.
type kept struct{ *tabletest.Outbox }

// copies returns the subject and the original of all copies, in order.
func (k *kept) copies() []string {
	k.T.Helper()
	rows, err := k.Pool.Query(k.T.Context(), k.Table.SQL(`SELECT c.subject || ' of ' || o.id FROM outbox.event c JOIN outbox.event o ON o.event_id = c.resend_of ORDER BY c.id`))
	if err != nil {
		k.T.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			k.T.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func (k *kept) replay(q *jobs.ReplayQuery) *jobs.Job {
	k.T.Helper()
	job, err := jobs.In(k.Table).StartReplay(k.T.Context(), k.Pool, q)
	if err != nil {
		k.T.Fatal(err)
	}
	k.work(job)
	return job
}

func (k *kept) work(job *jobs.Job) {
	k.T.Helper()
	err := jobs.In(k.Table).Work(k.T.Context(), k.Pool, job, jobs.Pace{MaxPending: -1, Page: 2}, func(ctx context.Context, n int) error {
		return jobs.In(k.Table).ReplayStep(ctx, k.Pool, job, n)
	}, func(string) {})
	if err != nil {
		k.T.Fatal(err)
	}
}

// Each condition selects its events, in the order of the plan, and the preview agrees with the replay.
func TestReplaySelects(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 0)}
	k.Run(`INSERT INTO outbox.event (subject, key, payload, headers) SELECT 'u.' || g || CASE g % 2 WHEN 0 THEN '.updated' ELSE '.made' END, (g % 3)::text, 'x', '{"Outbox-Op": "update"}' FROM generate_series(1, 6) g`)
	k.Plan()
	k.Run("UPDATE outbox.event SET created_at = '2026-01-01'::timestamptz + id * interval '1 h'; UPDATE outbox.batch SET planned_at = '2026-01-01'")
	k.Run("INSERT INTO outbox.parked (position, id, event_id, subject, reason) SELECT id, id, event_id, subject, 'too_large' FROM outbox.event WHERE id = 5")
	at := func(hour int) time.Time { return time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	k.Run("SET timezone = 'UTC'; UPDATE outbox.event SET created_at = '2026-01-01 00:00+00'::timestamptz + id * interval '1 h'")
	id := func(row int) (id uuid.UUID) {
		if err := k.Pool.QueryRow(t.Context(), k.Table.SQL("SELECT event_id FROM outbox.event WHERE id = $1"), row).Scan((*[16]byte)(&id)); err != nil {
			t.Fatal(err)
		}
		return id
	}
	for name, c := range map[string]struct {
		q    jobs.ReplayQuery
		want string
	}{
		"all":           {jobs.ReplayQuery{}, "u.1.made of 1, u.2.updated of 2, u.3.made of 3, u.4.updated of 4, u.6.updated of 6"},
		"since":         {jobs.ReplayQuery{Since: at(4)}, "u.4.updated of 4, u.6.updated of 6"},
		"until":         {jobs.ReplayQuery{Until: at(3)}, "u.1.made of 1, u.2.updated of 2"},
		"subject":       {jobs.ReplayQuery{Subjects: []string{"u.*.made"}}, "u.1.made of 1, u.3.made of 3"},
		"subjects":      {jobs.ReplayQuery{Subjects: []string{"u.1.>", "u.6.>"}}, "u.1.made of 1, u.6.updated of 6"},
		"no wildcard":   {jobs.ReplayQuery{Subjects: []string{"u.1"}}, ""},
		"key":           {jobs.ReplayQuery{Keys: []string{"1"}}, "u.1.made of 1, u.4.updated of 4"},
		"ids":           {jobs.ReplayQuery{FromID: 2, ToID: 3}, "u.2.updated of 2, u.3.made of 3"},
		"position":      {jobs.ReplayQuery{FromPosition: 4}, "u.4.updated of 4, u.6.updated of 6"},
		"both":          {jobs.ReplayQuery{Since: at(2), Keys: []string{"1"}}, "u.4.updated of 4"},
		"limit":         {jobs.ReplayQuery{Limit: 3}, "u.1.made of 1, u.2.updated of 2, u.3.made of 3"},
		"prefix":        {jobs.ReplayQuery{FromID: 1, ToID: 1, Prefix: "side"}, "side.u.1.made of 1"},
		"event ids":     {jobs.ReplayQuery{EventIDs: []uuid.UUID{id(6), id(2)}}, "u.6.updated of 6, u.2.updated of 2"},
		"parked by its": {jobs.ReplayQuery{EventIDs: []uuid.UUID{id(5)}}, "u.5.made of 5"},
	} {
		t.Run(name, func(t *testing.T) {
			k.T = t
			preview, err := jobs.In(k.Table).PreviewReplay(t.Context(), k.Pool, &c.q, func(int64, int64, int64) {})
			if err != nil {
				t.Fatal(err)
			}
			job := k.replay(&c.q)
			got := k.copies()
			if strings.Join(got, ", ") != c.want || job.Last.Events != int64(len(got)) || preview.Matched != int64(len(got)) {
				t.Errorf("copied %q, %d by the step, %d by the preview; want %q", got, job.Last.Events, preview.Matched, c.want)
			}
			k.Run("DELETE FROM outbox.event WHERE resend_of IS NOT NULL")
		})
	}
}

// A replay does not copy copies. The copy of a copy, replayed by its id, names the first original.
func TestReplayOfCopies(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 3)}
	k.replay(&jobs.ReplayQuery{})
	k.Plan()
	k.replay(&jobs.ReplayQuery{})
	k.Count("SELECT count(*) FROM outbox.event", 9)
	var id, original uuid.UUID
	if err := k.Pool.QueryRow(t.Context(), k.Table.SQL("SELECT event_id, resend_of FROM outbox.event WHERE id = 4")).Scan((*[16]byte)(&id), (*[16]byte)(&original)); err != nil {
		t.Fatal(err)
	}
	k.replay(&jobs.ReplayQuery{EventIDs: []uuid.UUID{id}})
	k.Count(fmt.Sprintf("SELECT count(*) FROM outbox.event WHERE resend_of = '%s'", original), 3)
}

// Of an event that was parked and then replayed by a person, a replay copies the copy that was published, once,
// however often that took. If that event was itself a copy of a replay, so are its copies.
func TestReplayOfRepairedEvents(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 3)}
	park := func(id int) {
		k.Run(fmt.Sprintf("INSERT INTO outbox.parked (position, id, event_id, subject, reason) SELECT %[1]d, id, event_id, subject, 'no_stream' FROM outbox.event WHERE id = %[1]d", id))
	}
	repair := func() {
		parked, err := dead.In(k.Table).OpenParked(t.Context(), k.Pool)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := dead.In(k.Table).Replay(t.Context(), k.Pool, dead.Work{Sources: []dead.Source{parked}}); err != nil || out.Done != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		k.Plan()
	}
	park(2)
	repair() // 4, which is parked again
	park(4)
	repair() // 5 is published
	job := k.replay(&jobs.ReplayQuery{})
	k.Plan() // 6 to 8 are copies of 1, 3 and 5
	if job.Last.Events != 3 {
		t.Errorf("%d copies, want 3", job.Last.Events)
	}
	park(6)
	repair() // 9 replaces 6, which was a copy
	preview, err := jobs.In(k.Table).PreviewReplay(t.Context(), k.Pool, &jobs.ReplayQuery{Limit: 2}, func(int64, int64, int64) {})
	if err != nil || preview.Matched != 2 || fmt.Sprint(preview.FirstRows) != "[1 3]" {
		t.Errorf("%+v, %v; want the first two of three", preview, err)
	}
	k.replay(&jobs.ReplayQuery{})
	k.Count("SELECT count(*) FROM outbox.event WHERE id > 9", 3)
	k.Count("SELECT count(*) FROM outbox.event c JOIN outbox.event o ON o.event_id = c.resend_of WHERE c.id = 12 AND o.id IN (2, 4)", 1)
}

// The number of positions that a step scans follows how many selected events they have. If a step finds more than it
// may copy, the next one begins after the last copy.
func TestReplayOfDenseAfterSparse(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 400)}
	k.Run("UPDATE outbox.event SET key = 'k' WHERE id % 40 = 1 OR id > 300")
	job := k.replay(&jobs.ReplayQuery{Keys: []string{"k"}})
	if job.Last.Events != 108 || job.Last.Scanned != 400 {
		t.Errorf("%+v", job.Last)
	}
	k.Count("SELECT count(DISTINCT resend_of) FROM outbox.event WHERE resend_of IS NOT NULL", 108)
}

// A job is running as long as the session that announced it.
func TestJobsThatRun(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 1)}
	job, err := jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &jobs.ReplayQuery{})
	if err != nil {
		t.Fatal(err)
	}
	running := func() bool {
		found, err := jobs.In(k.Table).Job(t.Context(), k.Pool, job.ID)
		if err != nil {
			t.Fatal(err)
		}
		return found.Running
	}
	conn, err := pgx.ConnectConfig(t.Context(), k.Pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	if running() || jobs.In(k.Table).Announce(t.Context(), conn, job) != nil || !running() {
		t.Error("a session that announced the job is not found, or one that did not is")
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	devtest.Eventually(t, 10*time.Second, "the end of the session", func() error {
		if running() {
			return errors.New("it is still found")
		}
		return nil
	})
}

// Two processes do each step of a job once, and a job continues where another process stopped.
func TestReplayStepsAreTakenOnce(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 100)}
	job, err := jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &jobs.ReplayQuery{Limit: 90})
	if err != nil {
		t.Fatal(err)
	}
	other := *job
	if err := jobs.In(k.Table).ReplayStep(t.Context(), k.Pool, job, 40); err != nil || job.Last.Events != 40 || job.Last.Done {
		t.Fatalf("%+v, %v", job.Last, err)
	}
	if err := jobs.In(k.Table).ReplayStep(t.Context(), k.Pool, &other, 40); !errors.Is(err, jobs.ErrStepTaken) {
		t.Fatalf("the second: %v, want ErrStepTaken", err)
	}
	found, err := jobs.In(k.Table).Job(t.Context(), k.Pool, job.ID)
	if err != nil {
		t.Fatal(err)
	}
	k.work(found)
	if found.Last.Events != 90 {
		t.Errorf("%+v", found.Last)
	}
	k.Count("SELECT count(*) FROM outbox.event WHERE resend_of IS NOT NULL", 90)
	k.Count("SELECT count(DISTINCT resend_of) FROM outbox.event WHERE resend_of IS NOT NULL", 90)
	if _, err := jobs.In(k.Table).Job(t.Context(), k.Pool, uuid.New()); !errors.Is(err, table.ErrNoJob) {
		t.Errorf("another job: %v", err)
	}
}

// A replay of dropped events is an error, unless events may be missing.
func TestReplayOfDroppedEvents(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 2500)}
	k.Acked(2500, 2*time.Hour)
	if emptied, err := k.Table.EmptyPartition(t.Context(), k.Pool, "event_1", time.Hour); err != nil || !emptied {
		t.Fatalf("empty event_1: %v, %v", emptied, err)
	}
	for name, q := range map[string]jobs.ReplayQuery{
		"since": {Since: time.Now().Add(-time.Hour)}, "ids": {FromID: 500, ToID: 1500}, "position": {FromPosition: 11}, "event": {EventIDs: []uuid.UUID{uuid.New()}},
	} {
		if _, err := jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &q); !errors.Is(err, jobs.ErrDropped) {
			t.Errorf("%s: %v, want ErrGone", name, err)
		}
		q.AllowedMissing = true
		if _, err := jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &q); err != nil {
			t.Errorf("%s, allowed: %v", name, err)
		}
	}
	job := k.replay(&jobs.ReplayQuery{FromID: 500, ToID: 1500, AllowedMissing: true})
	if job.Last.Events != 500 {
		t.Errorf("%d copies, want 500", job.Last.Events)
	}
	if _, err := jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &jobs.ReplayQuery{FromID: 1001}); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"a..b", "a.>.b", "a*", ""} {
		if _, err := jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &jobs.ReplayQuery{Subjects: []string{bad}}); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("pattern %q: %v, want ErrInvalid", bad, err)
		}
	}
}

// A job waits while it is paused, and while too many events are pending.
func TestWorkWaits(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 50)}
	job, err := jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &jobs.ReplayQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Table.Pause(t.Context(), k.Pool, []string{table.PauseJob(job.ID)}, 0, "lunch", "ada"); err != nil {
		t.Fatal(err)
	}
	var notes []string
	err = jobs.In(k.Table).Work(t.Context(), k.Pool, job, jobs.Pace{Stream: "S", MaxPending: 49, Rate: -1}, func(ctx context.Context, n int) error {
		return jobs.In(k.Table).ReplayStep(ctx, k.Pool, job, n)
	}, func(note string) {
		notes = append(notes, note)
		switch len(notes) {
		case 1:
			_, err = k.Table.Resume(t.Context(), k.Pool, []string{table.PauseJob(job.ID)}, "", "ada")
		case 2:
			k.Acked(50, 0)
		}
	})
	if err != nil || len(notes) != 3 || !strings.Contains(notes[0], "paused by ada: lunch") || !strings.Contains(notes[1], "50 events are pending and no relay runs") || notes[2] != "" {
		t.Errorf("%q, %v", notes, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	job, err = jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &jobs.ReplayQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if err := jobs.In(k.Table).Work(ctx, k.Pool, job, jobs.Pace{}, nil, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// An error at the commit of a step is an error of the step, although its row was returned before.
func TestStepThatFailsToCommit(t *testing.T) {
	k := &kept{tabletest.NewOutbox(t, 10)}
	job, err := jobs.In(k.Table).StartReplay(t.Context(), k.Pool, &jobs.ReplayQuery{})
	must(t, err)
	k.Run(`CREATE FUNCTION outbox.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$`)
	k.Run(`CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON outbox.step DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION outbox.refuse()`)
	if err := jobs.In(k.Table).ReplayStep(t.Context(), k.Pool, job, 5); err == nil || job.Last.N != 0 {
		t.Errorf("%v, step %d; want an error, and no step", err, job.Last.N)
	}
	k.Count("SELECT count(*) FROM outbox.event", 10)
}
