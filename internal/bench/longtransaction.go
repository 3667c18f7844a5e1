package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

func longTransaction() *Scenario {
	return &Scenario{
		Name: "long-transaction", Short: "rate of publishing a backlog during long transactions",
		Title:    "publish a backlog while a transaction stays open in the same database and another one in a second database, compared with the same without them",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 500_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192, Parts: 1},
		targets:  []target{atLeast(perSecond, 0.97), {metric: deadTuples, most: 0}},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{
				{"no long transaction", func(ctx context.Context, m *meter) error { return s.drainDuring(ctx, m, false) }},
				{oursArm, func(ctx context.Context, m *meter) error { return s.drainDuring(ctx, m, true) }},
			}}, nil
		},
	}
}

const deadTuples = "dead_tuples"

// drainDuring publishes a backlog. If long is true, transactions have been open since before the first event.
func (s *session) drainDuring(ctx context.Context, m *meter, long bool) error {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	if long {
		open, err := s.openTransactions(ctx, env)
		defer func() {
			for _, conn := range open {
				_ = conn.Close(context.WithoutCancel(ctx)) // ends the transaction
			}
		}()
		if err != nil {
			return err
		}
	}
	if err := env.fill(ctx, s.set.Events); err != nil {
		return err
	}
	if err = env.drain(ctx, m, s.set.Events); err == nil {
		err = env.countDead(ctx, m)
	}
	// Closing the session drops the schema; here the drop would wait for the transaction.
	return errors.Join(err, s.js.DeleteStream(ctx, env.stream))
}

// openTransactions begins a transaction that has written to the outbox, and one in another database if it can connect to
// one.
func (s *session) openTransactions(ctx context.Context, env *environment) (open []*pgx.Conn, err error) {
	config := s.servers.Postgres.ConnConfig.Copy()
	writer, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open a long transaction: %w", err)
	}
	open = append(open, writer)
	if _, err := writer.Exec(ctx, "BEGIN"); err != nil {
		return open, fmt.Errorf("open a long transaction: %w", err)
	}
	if _, err := writer.Exec(ctx, env.table.SQL(insertMany), env.stream, 1, s.set.Payload); err != nil {
		return open, fmt.Errorf("write in a long transaction: %w", err)
	}
	for _, database := range []string{"postgres", "template1"} {
		if database == config.Database {
			continue
		}
		other := config.Copy()
		other.Database = database
		conn, err := pgx.ConnectConfig(ctx, other)
		if err != nil {
			continue
		}
		open = append(open, conn)
		if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id(), pg_current_snapshot()"); err == nil {
			return open, nil
		}
	}
	s.note("no second database was available, so its long transaction was left out")
	return open, nil
}

// deadRows counts the rows of all tables of the outbox that vacuum would have to remove. Rows of the open transaction are
// alive.
const deadRows = `SELECT coalesce(sum(n_dead_tup + n_tup_upd + n_tup_del), 0)::float8 FROM pg_stat_all_tables WHERE schemaname = $1`

// countDead records the number of dead rows. It waits until the ended sessions of the relay have reported their statistics.
func (e *environment) countDead(ctx context.Context, m *meter) error {
	if err := wait.For(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	var dead float64
	if err := e.s.pool.QueryRow(ctx, deadRows, e.table.Schema()).Scan(&dead); err != nil {
		return fmt.Errorf("count dead rows: %w", err)
	}
	m.value(deadTuples, dead)
	return nil
}
