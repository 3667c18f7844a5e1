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
		Name: "audit", Short: "rate at which the stream is audited",
		Title:    "table, plan, receipts and stream compared, against reading the headers of the stream and nothing else",
		needs:    []string{procPostgres, procNATS},
		defaults: Settings{Runs: 5, Events: 300_000, Payload: 200, Replicas: 1, Batch: 4096, Window: 8192},
		open:     openAudit,
	}
}

// openAudit publishes a backlog once; audits change nothing.
func openAudit(ctx context.Context, l *lab) (*bout, error) {
	s, err := l.station(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, l.set.Events); err != nil {
		return nil, err
	}
	r, err := s.relay(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.published(ctx, l.set.Events), r.stop()); err != nil {
		return nil, err
	}
	return &bout{arms: []arm{
		{"headers of the stream", func(ctx context.Context, m *meter) error { return l.headersOf(ctx, m, s.stream) }},
		{oursArm, func(ctx context.Context, m *meter) error { return l.audit(ctx, m, s) }},
	}}, nil
}

func (l *lab) audit(ctx context.Context, m *meter, s *station) error {
	a, err := audit.New(s.table, l.pool, l.nc, audit.Config{Stream: s.stream})
	if err != nil {
		return err
	}
	m.start()
	report, err := a.Run(ctx)
	m.stop(l.set.Events)
	if err != nil {
		return err
	}
	if report.Published != int64(l.set.Events) {
		return fmt.Errorf("the audit found %d of %d events in the stream", report.Published, l.set.Events)
	}
	for kind, found := range report.Found {
		if found.N > 0 {
			return fmt.Errorf("the audit found %d %s", found.N, kind)
		}
	}
	return nil
}

// headersOf reads every message of a stream without its body.
func (l *lab) headersOf(ctx context.Context, m *meter, stream string) error {
	nc, js, err := l.connect()
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
	for i := range l.set.Events {
		if _, err := messages.Next(jetstream.NextContext(ctx)); err != nil {
			return fmt.Errorf("read message %d of stream %s: %w", i+1, stream, err)
		}
	}
	m.stop(l.set.Events)
	return nil
}
