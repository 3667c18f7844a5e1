package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
)

func backfill() *Scenario {
	return &Scenario{
		Name: "backfill", Short: "rate at which the rows of a table get events",
		Title:    "events for the rows of a table, page by page with their rows locked, against INSERT … SELECT of the same pages",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 100_000, Batch: 1000, Replicas: 1},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{
				{"INSERT … SELECT", func(ctx context.Context, m *meter) error { return l.fromRows(ctx, m, pageByPage) }},
				{oursArm, func(ctx context.Context, m *meter) error { return l.fromRows(ctx, m, backfillAll) }},
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

// fromRows measures one way to make an event of every row.
func (l *lab) fromRows(ctx context.Context, m *meter, do func(context.Context, *station) error) error {
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	if _, err := l.pool.Exec(ctx, s.withRows("CREATE SCHEMA app")); err != nil {
		return fmt.Errorf("make a schema: %w", err)
	}
	if _, err := l.pool.Exec(ctx, s.withRows(rowTable)); err != nil {
		return fmt.Errorf("make a table: %w", err)
	}
	if _, err := l.pool.Exec(ctx, s.withRows(rowFill), l.set.Events); err != nil {
		return fmt.Errorf("fill the table: %w", err)
	}
	if _, err := l.pool.Exec(ctx, s.withRows("VACUUM (ANALYZE) app.person")); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	m.start()
	err = do(ctx, s)
	m.stop(l.set.Events)
	if err == nil {
		var made int
		err = l.pool.QueryRow(ctx, s.table.SQL("SELECT count(*)::int FROM outbox.event")).Scan(&made)
		if err == nil && made != l.set.Events {
			err = fmt.Errorf("%d events of %d rows", made, l.set.Events)
		}
	}
	return errors.Join(err, s.remove(ctx), l.dropSchema(ctx, s.app()))
}

// app is the schema of the table whose rows get events: one of the outbox itself may not.
func (s *station) app() string { return s.table.Schema() + "_app" }

// withRows puts a text that names the schemas outbox and app into those of the station.
func (s *station) withRows(query string) string {
	return strings.NewReplacer("SCHEMA app", "SCHEMA "+quoted(s.app()), "app.person", quoted(s.app())+".person").Replace(s.table.SQL(query))
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func pageByPage(ctx context.Context, s *station) error {
	for last, n := int64(0), 1; n > 0; {
		if err := s.l.pool.QueryRow(ctx, s.withRows(rowPage), last, s.l.set.Batch, s.stream).Scan(&last, &n); err != nil {
			return fmt.Errorf("insert a page: %w", err)
		}
	}
	return nil
}

func backfillAll(ctx context.Context, s *station) error {
	conn, err := s.l.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	job, err := jobs.In(s.table).StartBackfill(ctx, conn.Conn(), &jobs.BackfillQuery{
		Table: quoted(s.app()) + ".person", Subject: s.stream + ".{id}.updated", Key: "{id}",
	})
	if err != nil {
		return err
	}
	work := jobs.In(s.table).NewBackfill(job, func(string) {})
	for !job.Last.Done {
		if err := work.Step(ctx, conn.Conn(), s.l.set.Batch); err != nil {
			return err
		}
	}
	return nil
}
