package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
)

func backfill() *Scenario {
	return &Scenario{
		Name: "backfill", Short: "rate of inserting events for existing rows",
		Title:    "insert an event for each row of a table, in pages whose rows are locked, compared with INSERT … SELECT of the same pages",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 100_000, Batch: 1000, Replicas: 1},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{
				{"INSERT … SELECT", func(ctx context.Context, m *meter) error { return s.fromRows(ctx, m, insertPages) }},
				{oursArm, func(ctx context.Context, m *meter) error { return s.fromRows(ctx, m, backfillAll) }},
			}}, nil
		},
	}
}

const (
	rowTable = `CREATE TABLE app.person (id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL, born date, updated_at timestamptz DEFAULT now())`
	rowFill  = `INSERT INTO app.person (id, name, email, born)
	SELECT g, 'person ' || g, 'person' || g || '@example.org', '1970-01-01'::date + (g % 10000)::int FROM generate_series(1, $1::bigint) AS g`
	rowPage = `WITH page AS (SELECT * FROM app.person WHERE id > $1 ORDER BY id LIMIT $2), made AS (
	INSERT INTO outbox.event (subject, key, payload)
	SELECT $3 || '.' || id || '.updated', id::text, convert_to(to_jsonb(page)::text, 'UTF8') FROM page ORDER BY id)
	SELECT coalesce(max(id), 0), count(*)::int FROM page`
)

// fromRows measures one way to insert an event for each row of a table.
func (s *session) fromRows(ctx context.Context, m *meter, insert func(context.Context, *environment) error) error {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		what, sql string
		args      []any
	}{
		{"create a schema", "CREATE SCHEMA app", nil}, {"create a table", rowTable, nil}, {"fill the table", rowFill, []any{s.set.Events}},
		{"vacuum", "VACUUM (ANALYZE) app.person", nil},
	} {
		if _, err := s.pool.Exec(ctx, env.appSQL(step.sql), step.args...); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	m.start()
	err = insert(ctx, env)
	m.stop(s.set.Events)
	if err == nil {
		var inserted int
		err = s.pool.QueryRow(ctx, env.table.SQL("SELECT count(*)::int FROM outbox.event")).Scan(&inserted)
		if err == nil && inserted != s.set.Events {
			err = fmt.Errorf("%d events inserted for %d rows", inserted, s.set.Events)
		}
	}
	return errors.Join(err, env.remove(ctx), s.dropSchema(ctx, env.app()))
}

// app returns the schema of the table whose rows get events. A backfill rejects tables of the outbox schema itself.
func (e *environment) app() string { return e.table.Schema() + "_app" }

// appSQL replaces the schemas outbox and app in a statement by those of the environment.
func (e *environment) appSQL(query string) string {
	return strings.NewReplacer("SCHEMA app", "SCHEMA "+quoted(e.app()), "app.person", quoted(e.app())+".person").Replace(e.table.SQL(query))
}

func insertPages(ctx context.Context, e *environment) error {
	for last, n := int64(0), 1; n > 0; {
		if err := e.s.pool.QueryRow(ctx, e.appSQL(rowPage), last, e.s.set.Batch, e.stream).Scan(&last, &n); err != nil {
			return fmt.Errorf("insert a page: %w", err)
		}
	}
	return nil
}

func backfillAll(ctx context.Context, e *environment) error {
	conn, err := e.s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	job, err := jobs.In(e.table).StartBackfill(ctx, conn.Conn(), &jobs.BackfillQuery{
		Table: quoted(e.app()) + ".person", Subject: e.stream + ".{id}.updated", Key: "{id}",
	})
	if err != nil {
		return err
	}
	work := jobs.In(e.table).NewBackfill(job, func(string) {})
	for !job.Last.Done {
		if err := work.Step(ctx, conn.Conn(), e.s.set.Batch); err != nil {
			return err
		}
	}
	return nil
}
