package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A naive relay is the floor of the relay: it selects rows with an id above the last one and publishes them with message
// ids. It misses rows that commit out of order, assumes that it is the only relay, and keeps its position in memory.
type naive struct {
	naiveMode
	s      *session
	table  *table.Table // for its schema, which has a plain table instead of an outbox
	stream string
	inbox  string
	acks   *observer // of its acks, by event; nil unless observed

	conn *pgx.Conn
	nc   *nats.Conn
	sub  *nats.Subscription
	last int64 // id
	sent int
}

// A naiveMode is how a naive relay works.
type naiveMode struct {
	listen   bool // it waits for NOTIFY instead of polling every millisecond
	oneByOne bool // it waits for each ack before the next message
	observed bool // an observer records its acks
}

// The table of a naive relay has no trigger, no check and one index.
const (
	naiveTable = `CREATE TABLE outbox.event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	event_id uuid NOT NULL, subject text NOT NULL, key text, payload bytea NOT NULL)`
	naiveNotify = `WITH i AS (INSERT INTO outbox.event (event_id, subject, key, payload) VALUES ($1, $2, $3, $4)) SELECT pg_notify('outbox.wake', '')`
	naivePoll   = `SELECT id, event_id, subject, key, payload FROM outbox.event WHERE id > $1 ORDER BY id LIMIT 4096`
)

// newNaive creates the table and the stream of a naive relay and connects it.
func (s *session) newNaive(ctx context.Context, mode naiveMode) (*naive, error) {
	tbl, err := table.In(s.newName())
	if err != nil {
		return nil, err
	}
	n := &naive{naiveMode: mode, s: s, table: tbl}
	if _, err := s.pool.Exec(ctx, "CREATE SCHEMA "+quoted(tbl.Schema())); err != nil {
		return nil, fmt.Errorf("create a schema: %w", err)
	}
	if _, err := s.pool.Exec(ctx, n.sql(naiveTable)); err != nil {
		return nil, fmt.Errorf("create a table: %w", err)
	}
	if n.stream, err = s.newStream(ctx); err != nil {
		return nil, err
	}
	if n.conn, err = pgx.ConnectConfig(ctx, s.servers.Postgres.ConnConfig.Copy()); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if n.listen {
		if _, err := n.conn.Exec(ctx, "LISTEN "+quoted(n.sql("outbox.wake"))); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	var options []nats.Option
	if n.observed {
		if n.acks, err = s.observe(byReply); err != nil {
			return nil, err
		}
		options = append(options, n.acks.inbox())
	}
	if n.nc, _, err = s.connect(options...); err != nil {
		return nil, err
	}
	n.inbox = n.nc.NewInbox() + "."
	if n.sub, err = n.nc.SubscribeSync(n.inbox + "*"); err != nil {
		return nil, fmt.Errorf("subscribe to acks: %w", err)
	}
	return n, n.sub.SetPendingLimits(-1, -1)
}

// start runs the relay until stop is called.
func (n *naive) start(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- n.run(ctx) }()
	return func() error { cancel(); return <-ended }
}

// settleTime is how long a naive relay runs after the load.
const settleTime = 300 * time.Millisecond

// runLoad measures a load that the relay publishes, and stops the relay some time after the load.
func (n *naive) runLoad(ctx context.Context, m *meter) (*load, error) {
	stop := n.start(ctx)
	count := n.s.set.paced()
	p := &load{sql: n.sql(insertOne), subject: n.stream}
	m.start()
	err := p.run(ctx, n.s, count, n.s.set.Rate)
	m.stop(count)
	_ = wait.For(ctx, settleTime) // the caller checks ctx
	return p, errors.Join(err, stop())
}

// run polls and publishes until ctx ends.
func (n *naive) run(ctx context.Context) error {
	for ctx.Err() == nil {
		found, err := n.step(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			return err
		case found > 0:
		case n.listen:
			if _, err := n.conn.WaitForNotification(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("wait for a notification: %w", err)
			}
		default:
			_ = wait.For(ctx, time.Millisecond) // the loop checks ctx
		}
	}
	return nil
}

// step publishes what one poll finds and waits for the acks.
func (n *naive) step(ctx context.Context) (int, error) {
	rows, err := n.conn.Query(ctx, n.sql(naivePoll), n.last)
	if err != nil {
		return 0, fmt.Errorf("poll: %w", err)
	}
	found := 0
	var (
		id           uuid.UUID
		subject, key string
		payload      []byte
	)
	_, err = pgx.ForEachRow(rows, []any{&n.last, (*[16]byte)(&id), &subject, &key, &payload}, func() error {
		found++
		msg := &nats.Msg{Subject: subject, Data: payload, Reply: n.inbox + key, Header: nats.Header{
			event.HeaderMsgID: {id.String()}, event.HeaderKey: {key},
		}}
		if err := n.nc.PublishMsg(msg); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if n.oneByOne {
			return n.awaitAcks(ctx, 1)
		}
		return nil
	})
	n.sent += found
	if err == nil && !n.oneByOne {
		err = n.awaitAcks(ctx, found)
	}
	return found, err
}

func (n *naive) awaitAcks(ctx context.Context, count int) error {
	for range count {
		if _, err := n.sub.NextMsgWithContext(ctx); err != nil {
			return fmt.Errorf("await an ack: %w", err)
		}
	}
	return nil
}

func (n *naive) sql(query string) string { return n.table.SQL(query) }

// noteLost records how many events the relay did not find.
func (n *naive) noteLost(m *meter, committed int) {
	if n.sent < committed {
		m.value("lost", float64(committed-n.sent))
		n.s.note("the floor lost events: it polls for higher ids, and these committed after one with a higher id")
	}
}

// remove closes the connections and drops the schema and the stream.
func (n *naive) remove(ctx context.Context) error {
	n.nc.Close()
	if n.acks != nil {
		n.acks.close()
	}
	return errors.Join(n.conn.Close(ctx), n.s.js.DeleteStream(ctx, n.stream), n.s.dropSchema(ctx, n.table.Schema()))
}
