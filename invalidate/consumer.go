package invalidate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	requestTimeout = 5 * time.Second  // for one request to the JetStream API
	detourAfter    = 10 * time.Second // tries through one server of several
	longestPause   = 5 * time.Second  // between two looks whether a server is there again
)

// newBackoff paces one loop that never gives up, from 100 ms on.
func newBackoff(longest time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(longest),
		backoff.WithMaxElapsedTime(0))
}

// wait returns after d, or with the error of ctx when that ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ensure returns the consumer, made if it is missing. It waits for the stream and for the server as long as
// ctx allows, and says once what it waits for. An error other than that of ctx means that the server refuses
// the consumer, or that the connection was closed for good.
func (v *Invalidator) ensure(ctx context.Context) (jetstream.Consumer, error) {
	retry := newBackoff(longestPause)
	began := time.Now()
	var said, missing bool
	for {
		cons, err := v.declare(ctx)
		switch {
		case err == nil:
			if said {
				v.log.Info("consumer is there")
			}
			v.known = true
			return cons, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed), !v.known && refused(err):
			return nil, err
		case errors.Is(err, jetstream.ErrStreamNotFound):
			if !missing {
				v.log.Warn("stream does not exist yet, waiting for it")
			}
			said, missing = true, true
		case !said:
			v.log.Warn("consumer cannot be had yet, trying on", "err", err)
			said = true
		case time.Since(began) > detourAfter && len(v.js.Conn().Servers()) > 1:
			began = time.Now() // the server may be cut off from the others, which a connection to it does not show
			v.log.Warn("no consumer through this server, connecting to another", "url", v.js.Conn().ConnectedUrlRedacted())
			_ = v.js.Conn().ForceReconnect() // fails only when it was closed, which the next try tells
		}
		if err := wait(ctx, retry.NextBackOff()); err != nil {
			return nil, err
		}
	}
}

// refused says whether an error of the API stays the same however often one asks.
func refused(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code >= 400 && api.Code < 500 && api.Code != 404 && api.Code != 408 ||
		errors.Is(err, jetstream.ErrNotPullConsumer)
}

// declare makes the consumer what the configuration says. Once it was that, a consumer that is there is left
// alone: another instance may have newer rules by now, and a filter put back to the old ones would skip
// events for good.
func (v *Invalidator) declare(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var config jetstream.ConsumerConfig
	cons, err := v.js.Consumer(ctx, v.cfg.Stream, v.cfg.Durable)
	switch {
	case err == nil && v.known:
		return cons, nil
	case err == nil:
		config = cons.CachedInfo().Config // keeps where it began to deliver, which cannot be changed
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		config = jetstream.ConsumerConfig{Durable: v.cfg.Durable, DeliverPolicy: jetstream.DeliverAllPolicy}
	default:
		return nil, fmt.Errorf("look up consumer: %w", err)
	}
	config.AckPolicy = jetstream.AckExplicitPolicy
	config.AckWait = v.cfg.AckWait
	config.BackOff = nil // would stand before AckWait
	config.MaxDeliver = -1
	config.MaxAckPending = v.cfg.MaxAckPending
	config.FilterSubject, config.FilterSubjects = "", v.cfg.Rules.Subjects()
	cons, err = v.js.CreateOrUpdateConsumer(ctx, v.cfg.Stream, config)
	if err != nil {
		return nil, fmt.Errorf("declare consumer: %w", err)
	}
	return cons, nil
}
