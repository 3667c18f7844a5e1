package bench

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func idle() *Scenario {
	return &Scenario{
		Name: "idle", Short: "CPU and queries of a relay without work",
		Title:    "what a relay costs that has nothing to do",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 1, Duration: time.Minute, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192},
		targets:  []target{{metric: cpuPercent, most: 0.5}, {metric: queriesPerSecond, most: 1}},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{{oursArm, l.idle}}}, nil
		},
	}
}

const (
	cpuPercent       = "cpu_percent_of_a_core"
	queriesPerSecond = "queries_per_second"
)

// idle lets a relay sleep. What this process does besides is to wait. Queries are counted where they leave it: a message
// to the server for each, whatever else the server has to do.
func (l *lab) idle(ctx context.Context, m *meter) error {
	s, err := l.station(ctx)
	if err != nil {
		return err
	}
	var writes atomic.Int64
	s.dial = func(dial pgconn.DialFunc) pgconn.DialFunc { return counting(dial, &writes) }
	r, err := s.relay(ctx)
	if err != nil {
		return err
	}
	if err := r.asleep(ctx); err != nil {
		return errors.Join(err, r.stop())
	}
	m.start()
	before := writes.Load()
	rest(ctx, l.set.Duration)
	m.stop(0)
	m.value(queriesPerSecond, float64(writes.Load()-before)/m.sample.Seconds)
	m.value(cpuPercent, 100*m.sample.Costs[procOurs].CPU.Seconds()/m.sample.Seconds)
	delete(m.sample.Values, perSecond)
	return errors.Join(r.stop(), s.remove(ctx))
}

// counting makes connections that count what is written to them.
func counting(dial pgconn.DialFunc, writes *atomic.Int64) pgconn.DialFunc {
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
