package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

func longTransaction() *Scenario {
	return &Scenario{
		Name: "long-transaction", Short: "a backlog beside transactions that stay open",
		Title:    "a backlog while a transaction stays open in its database, and another one in a second database, against the same without",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 500_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192, Parts: 1},
		targets:  []target{atLeast(perSecond, 0.97), {metric: deadTuples, most: 0}},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{
				{"without", func(ctx context.Context, m *meter) error { return l.drainBeside(ctx, m, false) }},
				{oursArm, func(ctx context.Context, m *meter) error { return l.drainBeside(ctx, m, true) }},
			}}, nil
		},
	}
}

const deadTuples = "dead_tuples"

// drainBeside is drainOurs, with or without transactions that were open before the first event and stay so.
func (l *lab) drainBeside(ctx context.Context, m *meter, long bool) error {
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	if long {
		open, err := l.openTransactions(ctx, s)
		defer func() {
			for _, conn := range open {
				_ = conn.Close(context.WithoutCancel(ctx)) // the transaction ends with it
			}
		}()
		if err != nil {
			return err
		}
	}
	if err := s.fill(ctx, l.set.Events); err != nil {
		return err
	}
	m.start()
	r, err := s.relay(ctx)
	if err != nil {
		return err
	}
	err = r.published(ctx, l.set.Events)
	m.stop(l.set.Events)
	err = errors.Join(err, r.stop())
	if err == nil {
		err = s.countDead(ctx, m)
	}
	return errors.Join(err, l.js.DeleteStream(ctx, s.stream)) // its schema is dropped at the end: here, it would wait for the transaction
}

// openTransactions begins one here, which has written to the outbox, and one in another database if there is one that we
// may connect to.
func (l *lab) openTransactions(ctx context.Context, s *station) (open []*pgx.Conn, err error) {
	config := l.servers.Postgres.ConnConfig.Copy()
	here, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open a long transaction: %w", err)
	}
	open = append(open, here)
	if _, err := here.Exec(ctx, "BEGIN"); err != nil {
		return open, fmt.Errorf("open a long transaction: %w", err)
	}
	if _, err := here.Exec(ctx, s.table.SQL(insertMany), s.stream, 1, l.set.Payload); err != nil {
		return open, fmt.Errorf("write in a long transaction: %w", err)
	}
	for _, database := range []string{"postgres", "template1"} {
		if database == config.Database {
			continue
		}
		elsewhere := config.Copy()
		elsewhere.Database = database
		conn, err := pgx.ConnectConfig(ctx, elsewhere)
		if err != nil {
			continue
		}
		open = append(open, conn)
		if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id(), pg_current_snapshot()"); err == nil {
			return open, nil
		}
	}
	l.note("no second database could be used: the long transaction in one was left out")
	return open, nil
}

// deadRows are what vacuum would have to remove, in every table of the outbox. What the open transaction has inserted lives.
const deadRows = `SELECT coalesce(sum(n_dead_tup + n_tup_upd + n_tup_del), 0)::float8 FROM pg_stat_all_tables WHERE schemaname = $1`

// countDead counts when the sessions of the relay have ended, which have said all by then.
func (s *station) countDead(ctx context.Context, m *meter) error {
	rest(ctx, 100*time.Millisecond)
	var dead float64
	if err := s.l.pool.QueryRow(ctx, deadRows, s.table.Schema()).Scan(&dead); err != nil {
		return fmt.Errorf("count dead tuples: %w", err)
	}
	m.value(deadTuples, dead)
	return nil
}
