package table_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
)

// The last row of a target counts, a pause ends at its time, and only what is paused can be resumed.
func TestPause(t *testing.T) {
	tbl, pool := tabletest.New(t)
	ctx := t.Context()
	var job uuid.UUID
	err := pool.QueryRow(ctx, tbl.SQL(`INSERT INTO outbox.job (kind, spec) VALUES ('replay', '{}') RETURNING id`)).Scan(&job)
	if err != nil {
		t.Fatal(err)
	}
	made, err := tbl.Pause(ctx, pool, []string{table.PauseRelay, table.PauseConsumer + "a", table.PauseJob(job)}, time.Hour, "why", "ada")
	if err != nil || len(made) != 3 {
		t.Fatalf("%+v, %v", made, err)
	}
	for _, p := range made {
		if p.Reason != "why" || p.Author != "ada" || p.Role == "" || p.Until.Sub(p.Since).Round(time.Minute) != time.Hour {
			t.Errorf("made %+v", p)
		}
	}
	if _, err := tbl.Pause(ctx, pool, []string{table.PauseRelay}, 0, "longer", "bob"); err != nil {
		t.Fatal(err)
	}
	p, paused, err := tbl.Paused(ctx, pool, table.PauseRelay)
	if err != nil || !paused || p.Reason != "longer" || !p.Until.IsZero() {
		t.Errorf("%+v %v %v", p, paused, err)
	}
	if all, err := tbl.Pauses(ctx, pool); err != nil || len(all) != 3 {
		t.Errorf("all: %+v, %v", all, err)
	}

	if _, err := tbl.Pause(ctx, pool, []string{table.PauseRelay, table.PauseJob(uuid.New())}, 0, "no job", "ada"); !errors.Is(err, table.ErrNoJob) {
		t.Errorf("a job that does not exist: %v", err)
	}
	if p, _, err := tbl.Paused(ctx, pool, table.PauseRelay); err != nil || p.Reason != "longer" {
		t.Errorf("a refused pause has written %+v, %v", p, err)
	}

	ended, err := tbl.Resume(ctx, pool, []string{table.PauseRelay, table.PauseConsumer + "b"}, "done", "ada")
	if err != nil || len(ended) != 1 || ended[0] != table.PauseRelay {
		t.Errorf("resumed %q, %v", ended, err)
	}
	if _, paused, err := tbl.Paused(ctx, pool, table.PauseRelay); err != nil || paused {
		t.Errorf("resumed and paused %v, %v", paused, err)
	}
	if _, err := tbl.Pause(ctx, pool, []string{table.PauseRelay}, 50*time.Millisecond, "short", "ada"); err != nil {
		t.Fatal(err)
	}
	devtest.Eventually(t, 10*time.Second, "the end of a pause", func() error {
		_, paused, err := tbl.Paused(ctx, pool, table.PauseRelay)
		if err == nil && paused {
			err = errors.New("still paused")
		}
		return err
	})
	if all, err := tbl.Pauses(ctx, pool); err != nil || len(all) != 2 {
		t.Errorf("all: %+v, %v", all, err)
	}
}
