package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// An environment is an outbox and its stream, both new and with the same name.
type environment struct {
	s      *session
	table  *table.Table
	stream string

	dial func(pgconn.DialFunc) pgconn.DialFunc // wraps the relay's connections to PostgreSQL; may be nil
}

// newEnvironment migrates a new schema, with partitions if the settings want more than one, and creates a stream.
func (s *session) newEnvironment(ctx context.Context) (*environment, error) {
	schema := s.newName()
	tbl, err := table.In(schema)
	if err != nil {
		return nil, err
	}
	if _, err := tbl.Migrate(ctx, s.pool); err != nil {
		return nil, err
	}
	e := &environment{s: s, table: tbl, stream: strings.ToUpper(schema)}
	if err := s.createStream(ctx, e.stream); err != nil {
		return nil, err
	}
	if s.set.Parts > 1 {
		return e, e.partition(ctx, s.set.Parts)
	}
	return e, nil
}

// remove frees the disk space before the next run.
func (e *environment) remove(ctx context.Context) error {
	return errors.Join(e.s.js.DeleteStream(ctx, e.stream), e.s.dropSchema(ctx, e.table.Schema()))
}

const (
	insertMany = `INSERT INTO outbox.event (subject, key, payload)
	SELECT $1 || '.' || (g % 1000), (g % 1000)::text, convert_to(repeat('x', $3::int), 'UTF8') FROM generate_series(1, $2::int) AS g`
	insertOne = `INSERT INTO outbox.event (event_id, subject, key, payload) VALUES ($1, $2, $3, $4)`
	// perStatement is how many rows one statement of fill inserts.
	perStatement = 50_000
)

// fill inserts a backlog of n events. It vacuums and checkpoints, as autovacuum and the checkpointer do with a backlog after
// a while.
func (e *environment) fill(ctx context.Context, n int) error {
	for left := n; left > 0; left -= perStatement {
		if _, err := e.s.pool.Exec(ctx, e.table.SQL(insertMany), e.stream, min(left, perStatement), e.s.set.Payload); err != nil {
			return fmt.Errorf("insert a backlog: %w", err)
		}
	}
	if _, err := e.s.pool.Exec(ctx, e.table.SQL("VACUUM (ANALYZE) outbox.event")); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	if _, err := e.s.pool.Exec(ctx, "CHECKPOINT"); err != nil {
		e.s.note("no checkpoint before each run: %v", err)
	}
	return nil
}
