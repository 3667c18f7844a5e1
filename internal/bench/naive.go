package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A naive relay is the floor of one: it looks for rows with an id above the last one and publishes them with their ids. It
// skips what commits out of order, knows nothing of other relays, and forgets everything with its process.
type naive struct {
	l        *lab
	table    *table.Table // its schema, with a table that is no outbox
	stream   string
	inbox    string
	listen   bool // for a notification of each commit, instead of looking every millisecond
	oneByOne bool // wait for each ack before the next message

	conn *pgx.Conn
	nc   *nats.Conn
	sub  *nats.Subscription
	last int64 // id
	sent int
}

// The table of a naive relay: no trigger, no check, one index.
const (
	naiveTable = `CREATE TABLE outbox.event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	event_id uuid NOT NULL, subject text NOT NULL, key text, payload bytea NOT NULL)`
	naiveNotify = `WITH i AS (INSERT INTO outbox.event (event_id, subject, key, payload) VALUES ($1, $2, $3, $4)) SELECT pg_notify('outbox.wake', '')`
	naiveLook   = `SELECT id, event_id, subject, key, payload FROM outbox.event WHERE id > $1 ORDER BY id LIMIT 4096`
)

// naive makes its table and stream, and starts it. The number of an ack is that of its event.
func (l *lab) naive(ctx context.Context, listen, oneByOne bool, options ...nats.Option) (*naive, error) {
	tbl, err := table.In(fmt.Sprintf("%s_%d", l.name, l.made.Add(1)))
	if err != nil {
		return nil, err
	}
	n := &naive{l: l, table: tbl, listen: listen, oneByOne: oneByOne}
	if _, err := l.pool.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{tbl.Schema()}.Sanitize()); err != nil {
		return nil, fmt.Errorf("make a schema: %w", err)
	}
	if _, err := l.pool.Exec(ctx, n.sql(naiveTable)); err != nil {
		return nil, fmt.Errorf("make a table: %w", err)
	}
	if n.stream, err = l.stream(ctx); err != nil {
		return nil, err
	}
	if n.conn, err = pgx.ConnectConfig(ctx, l.servers.Postgres.ConnConfig.Copy()); err != nil {
		return nil, fmt.Errorf("connect to postgres: %w", err)
	}
	if listen {
		if _, err := n.conn.Exec(ctx, "LISTEN "+pgx.Identifier{n.sql("outbox.wake")}.Sanitize()); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	if n.nc, _, err = l.connect(options...); err != nil {
		return nil, err
	}
	n.inbox = n.nc.NewInbox() + "."
	if n.sub, err = n.nc.SubscribeSync(n.inbox + "*"); err != nil {
		return nil, fmt.Errorf("subscribe to acks: %w", err)
	}
	return n, n.sub.SetPendingLimits(-1, -1)
}

// run looks and publishes until ctx ends.
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
			rest(ctx, time.Millisecond)
		}
	}
	return nil
}

// step publishes what one look finds and waits for the acks.
func (n *naive) step(ctx context.Context) (int, error) {
	rows, err := n.conn.Query(ctx, n.sql(naiveLook), n.last)
	if err != nil {
		return 0, fmt.Errorf("look: %w", err)
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
			return n.acks(ctx, 1)
		}
		return nil
	})
	n.sent += found
	if err == nil && !n.oneByOne {
		err = n.acks(ctx, found)
	}
	return found, err
}

func (n *naive) acks(ctx context.Context, count int) error {
	for range count {
		if _, err := n.sub.NextMsgWithContext(ctx); err != nil {
			return fmt.Errorf("await an ack: %w", err)
		}
	}
	return nil
}

func (n *naive) sql(query string) string { return n.table.SQL(query) }

// remove closes its connections and drops what it had.
func (n *naive) remove(ctx context.Context) error {
	n.nc.Close()
	return errors.Join(n.conn.Close(ctx), n.l.js.DeleteStream(ctx, n.stream), n.l.dropSchema(ctx, n.table.Schema()))
}

// order is the number of an event, which its key is.
func order(key string) int {
	i, err := strconv.Atoi(key)
	if err != nil {
		return -1
	}
	return i
}
