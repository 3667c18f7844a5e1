package bench

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

func idle() *Scenario {
	return &Scenario{
		Name: "idle", Short: "CPU and queries of an idle relay",
		Title:    "cost of a relay that has nothing to publish",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 1, Duration: time.Minute, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{{metric: cpuPercent, most: 0.5}, {metric: queriesPerSecond, most: 1}},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{{oursArm, s.idle}}}, nil
		},
	}
}

const (
	cpuPercent       = "cpu_percent_of_a_core"
	queriesPerSecond = "queries_per_second"
)

// idle measures a sleeping relay. This process does nothing else. A query is counted when this process writes it to a
// connection, so that other load on the server does not count.
func (s *session) idle(ctx context.Context, m *meter) error {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return err
	}
	var writes atomic.Int64
	env.dial = func(dial pgconn.DialFunc) pgconn.DialFunc { return countWrites(dial, &writes) }
	r, err := env.startRelay(ctx)
	if err != nil {
		return err
	}
	if err := r.awaitAsleep(ctx); err != nil {
		return errors.Join(err, r.stop())
	}
	m.start()
	before := writes.Load()
	err = wait.For(ctx, s.set.Duration)
	m.stop(0)
	m.value(queriesPerSecond, float64(writes.Load()-before)/m.sample.Seconds)
	m.value(cpuPercent, 100*m.sample.Costs[procOurs].CPU.Seconds()/m.sample.Seconds)
	delete(m.sample.Values, perSecond)
	return errors.Join(err, r.stop(), env.remove(ctx))
}

// countWrites makes connections count their writes.
func countWrites(dial pgconn.DialFunc, writes *atomic.Int64) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countedConn{conn, writes}, nil
	}
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}
