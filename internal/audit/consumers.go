package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
)

// consumers reads how far each durable consumer of the stream is.
func (a *Audit) consumers(ctx context.Context, report *Report) error {
	ctx, cancel := context.WithTimeout(ctx, 5*stream.RequestTimeout)
	defer cancel()
	js, err := jetstream.New(a.nc)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	stream, err := js.Stream(ctx, a.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("audit consumers of stream %s: %w", a.cfg.Stream, err)
	}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		if info.Config.Durable == "" { // somebody reads for a while
			continue
		}
		c := Consumer{Name: info.Name, Sequence: info.AckFloor.Stream, Pending: info.NumPending, AckPending: info.NumAckPending}
		if position, ok := a.scope.log.PositionAt(c.Sequence); ok {
			c.Position = position
		}
		report.Consumers = append(report.Consumers, c)
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("audit consumers of stream %s: %w", a.cfg.Stream, err)
	}
	return nil
}
