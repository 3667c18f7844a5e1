package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	wm "github.com/ThreeDotsLabs/watermill"
	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	wmsql "github.com/ThreeDotsLabs/watermill-sql/v4/pkg/sql"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/bench"
)

// watermill returns Watermill's SQL subscriber and its publisher for JetStream, combined as their documentation describes: each
// message is published with its id and then acknowledged to the database. batch is how many rows a poll reads; the default of
// Watermill is 100.
func watermill(name string, batch int) bench.Peer {
	return bench.Peer{Name: name, Drain: func(ctx context.Context, job bench.PeerJob) error { return drainWatermill(ctx, job, batch) }}
}

const fill = `INSERT INTO %s (uuid, payload, metadata, transaction_id)
	SELECT gen_random_uuid()::text, convert_to(repeat('x', $2::int), 'UTF8'), '{}', pg_current_xact_id() FROM generate_series(1, $1::int)`

func drainWatermill(ctx context.Context, job bench.PeerJob, batch int) (err error) {
	pool, err := pgxpool.NewWithConfig(ctx, job.Servers.Postgres.Copy())
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, fmt.Sprintf("CREATE SCHEMA %q", job.Schema)); err != nil {
		return err
	}
	messages, offsets := fmt.Sprintf("%q.messages", job.Schema), fmt.Sprintf("%q.offsets", job.Schema)
	sub, err := wmsql.NewSubscriber(wmsql.BeginnerFromPgx(pool), wmsql.SubscriberConfig{
		ConsumerGroup: "bench", PollInterval: 10 * time.Millisecond, InitializeSchema: true,
		SchemaAdapter: wmsql.DefaultPostgreSQLSchema{
			GenerateMessagesTableName: func(string) string { return messages },
			GeneratePayloadType:       func(string) string { return "BYTEA" },
			SubscribeBatchSize:        batch,
		},
		OffsetsAdapter: wmsql.DefaultPostgreSQLOffsetsAdapter{GenerateMessagesOffsetsTableName: func(string) string { return offsets }},
	}, wm.NopLogger{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sub.Close()) }()
	if err := sub.SubscribeInitialize("bench"); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, fmt.Sprintf(fill, messages), job.Events, job.Payload); err != nil {
		return fmt.Errorf("insert a backlog: %w", err)
	}
	if _, err := pool.Exec(ctx, "VACUUM ANALYZE "+messages); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	nc, err := job.Servers.NATS("watermill")
	if err != nil {
		return err
	}
	pub, err := wmnats.NewPublisherWithNatsConn(nc, wmnats.PublisherPublishConfig{
		Marshaler: &wmnats.NATSMarshaler{}, SubjectCalculator: wmnats.DefaultSubjectCalculator,
		JetStream: wmnats.JetStreamConfig{TrackMsgId: true, ConnectOptions: []nats.JSOpt{}},
	}, wm.NopLogger{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pub.Close()) }()
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	job.Start()
	in, err := sub.Subscribe(work, "bench")
	if err != nil {
		return err
	}
	for n := range job.Events {
		select {
		case msg := <-in:
			if err := pub.Publish(fmt.Sprintf("%s.%d", job.Stream, n%1000), msg); err != nil {
				return err
			}
			msg.Ack()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
