package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
)

func auditing() *Scenario {
	return &Scenario{
		Name: "audit", Short: "rate of auditing a stream",
		Title:    "audit the stream against table, plan and receipts, compared with only reading the headers of the stream",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 300_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192},
		open:     openAudit,
	}
}

// openAudit publishes one backlog for all runs, since an audit changes nothing.
func openAudit(ctx context.Context, s *session) (*comparison, error) {
	env, err := s.newEnvironment(ctx)
	if err != nil {
		return nil, err
	}
	if err := env.fill(ctx, s.set.Events); err != nil {
		return nil, err
	}
	r, err := env.startRelay(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.awaitPublished(ctx, s.set.Events), r.stop()); err != nil {
		return nil, err
	}
	return &comparison{arms: []arm{
		{"read headers", func(ctx context.Context, m *meter) error { return s.readHeaders(ctx, m, env.stream) }},
		{oursArm, func(ctx context.Context, m *meter) error { return s.audit(ctx, m, env) }},
	}}, nil
}

func (s *session) audit(ctx context.Context, m *meter, env *environment) error {
	a, err := audit.New(env.table, s.pool, s.nc, audit.Config{Stream: env.stream})
	if err != nil {
		return err
	}
	m.start()
	report, err := a.Run(ctx)
	m.stop(s.set.Events)
	if err != nil {
		return err
	}
	if report.Published != int64(s.set.Events) {
		return fmt.Errorf("the audit found %d events in the stream, want %d", report.Published, s.set.Events)
	}
	for kind, found := range report.Found {
		if found.N > 0 {
			return fmt.Errorf("the audit found %d %s, want none", found.N, kind)
		}
	}
	return nil
}

// readHeaders reads every message of a stream without its body.
func (s *session) readHeaders(ctx context.Context, m *meter, stream string) error {
	nc, js, err := s.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	m.start()
	cons, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	messages, err := cons.Messages(jetstream.PullMaxMessages(10_000))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", stream, err)
	}
	defer messages.Stop()
	for i := range s.set.Events {
		if _, err := messages.Next(jetstream.NextContext(ctx)); err != nil {
			return fmt.Errorf("read message %d of stream %s: %w", i+1, stream, err)
		}
	}
	m.stop(s.set.Events)
	return nil
}
