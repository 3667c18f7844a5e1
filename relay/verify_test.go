package relay_test

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// verdict is what a stream holds, against what the table does.
type verdict struct {
	events    int // of the table that the stream holds
	markers   int // of parked events
	lost      int // committed, neither in the stream nor parked
	twice     int // in the stream more than once
	reordered int // at a position out of order
	foreign   int // not in the table
}

// verifyStream reads the whole stream and holds it against the whole table.
func verifyStream(ctx context.Context, table *outbox.Table, pool *pgxpool.Pool, nc *nats.Conn, stream string) (verdict, error) {
	want := make(map[string]bool)
	rows, err := pool.Query(ctx, table.SQL("SELECT event_id::text FROM outbox.event"))
	if err != nil {
		return verdict{}, err
	}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return verdict{}, err
		}
		want[id] = true
	}
	if rows.Err() != nil {
		return verdict{}, rows.Err()
	}
	var v verdict
	seen := make(map[string]bool)
	last := int64(0)
	err = readStream(ctx, nc, stream, func(m jetstream.Msg) error {
		e, err := outbox.Parse(m.Subject(), m.Headers(), m.Data())
		id := e.ID.String()
		switch {
		case err != nil || e.Position == 0 || !want[id]:
			v.foreign++
			return nil
		case seen[id]:
			v.twice++
		case e.Position != last+1:
			v.reordered++
		}
		last = e.Position
		seen[id] = true
		if m.Headers().Get(outbox.HeaderParked) != "" {
			v.markers++
		} else {
			v.events++
		}
		return nil
	})
	v.lost = len(want) - len(seen)
	return v, err
}

// readStream hands every message of the stream, in order, to f.
func readStream(ctx context.Context, nc *nats.Conn, stream string, f func(jetstream.Msg) error) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	n := s.CachedInfo().State.Msgs
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	for n > 0 {
		batch, err := c.Fetch(int(min(n, 5000)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return err
		}
		got := uint64(0)
		for m := range batch.Messages() {
			got++
			if err := f(m); err != nil {
				return err
			}
		}
		if batch.Error() != nil {
			return batch.Error()
		}
		if got == 0 {
			return fmt.Errorf("%d messages of stream %s did not come", n, stream)
		}
		n -= got
	}
	return nil
}
