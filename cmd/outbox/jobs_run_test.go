package main

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// A command that continues a job waits for the session of a killed command, which still performs its step.
func TestContinuedJobWaitsForItsSession(t *testing.T) {
	t.Parallel()
	pool, schema := devtest.Pool(t), devtest.Schema(t)
	tbl, err := table.In(schema)
	fatal(t, err)
	_, err = tbl.Migrate(t.Context(), pool)
	fatal(t, err)
	_, err = pool.Exec(t.Context(), tbl.SQL("INSERT INTO outbox.event (subject) SELECT 'a.' || g FROM generate_series(1, 3) g"))
	fatal(t, err)
	session, err := tbl.OpenSession(t.Context(), pool.Config().ConnConfig.Copy(), t.Name())
	fatal(t, err)
	_, err = session.Plan(t.Context(), table.Page{Events: 10, Bytes: 1 << 20})
	fatal(t, err)
	session.Close()
	job, err := jobs.In(tbl).StartReplay(t.Context(), pool, &jobs.ReplayQuery{})
	fatal(t, err)

	left, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	fatal(t, err)
	fatal(t, jobs.In(tbl).Announce(t.Context(), left, job))
	tx, err := left.Begin(t.Context())
	fatal(t, err)
	fatal(t, jobs.In(tbl).ReplayStep(t.Context(), tx, job, 2))

	name, ended := "continuing_"+schema, make(chan string, 1)
	database, err := url.Parse(devtest.Postgres(t).URL())
	fatal(t, err)
	query := database.Query()
	query.Set("application_name", name)
	database.RawQuery = query.Encode()
	go func() {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"outbox", "replay", "--job", job.ID.String(), "-o", "json", "--schema", schema, "--database-url", database.String()}, nil, &stdout, &stderr)
		if code == 0 {
			stderr.Reset()
		}
		ended <- stdout.String() + stderr.String()
	}()
	polls := make(map[time.Time]bool)
	devtest.Eventually(t, patience, "the command that continues the job", func() error {
		var at time.Time
		err := pool.QueryRow(t.Context(), "SELECT query_start FROM pg_stat_activity WHERE application_name = $1 AND query LIKE '%job_list%'", name).Scan(&at)
		if polls[at] = true; err == nil && len(polls) < 4 { // the first prepared it, one that never came is zero
			err = errors.New("it does not poll the job")
		}
		return err
	})
	fatal(t, tx.Commit(t.Context()))
	fatal(t, left.Close(t.Context()))
	if printed := <-ended; !strings.Contains(printed, `"copied": 3,`) {
		t.Error(printed)
	}
}

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{"a-b_c/d.yaml": "a-b_c/d.yaml", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := shellWord(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
