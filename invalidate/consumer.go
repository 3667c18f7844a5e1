package invalidate

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
func (l *lane) ensure(ctx context.Context) (jetstream.Consumer, error) {
	retry := newBackoff(longestPause)
	began := time.Now()
	var said, missing bool
	for {
		cons, err := l.declare(ctx)
		switch {
		case err == nil:
			if said {
				l.log.Info("consumer is there")
			}
			l.known = true
			return cons, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed), !l.known && refused(err):
			return nil, err
		case errors.Is(err, jetstream.ErrStreamNotFound):
			if !missing {
				l.log.Warn("stream does not exist yet, waiting for it")
			}
			said, missing = true, true
		case !said:
			l.log.Warn("consumer cannot be had yet, trying on", "err", err)
			said = true
		case time.Since(began) > detourAfter && len(l.js.Conn().Servers()) > 1:
			began = time.Now() // the server may be cut off from the others, which a connection to it does not show
			l.log.Warn("no consumer through this server, connecting to another", "url", l.js.Conn().ConnectedUrlRedacted())
			_ = l.js.Conn().ForceReconnect() // fails only when it was closed, which the next try tells
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
// alone: another instance may be configured otherwise by now.
func (l *lane) declare(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var config jetstream.ConsumerConfig
	cons, err := l.js.Consumer(ctx, l.cfg.Stream, l.durable)
	switch {
	case err == nil && l.known:
		return cons, nil
	case err == nil:
		config = cons.CachedInfo().Config // keeps where it began to deliver, which cannot be changed
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		if config, err = l.firstConfig(ctx); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("look up consumer: %w", err)
	}
	config.AckPolicy = jetstream.AckExplicitPolicy
	config.AckWait = l.cfg.AckWait
	config.BackOff = nil // would stand before AckWait
	config.MaxDeliver = -1
	config.MaxAckPending = l.cfg.MaxAckPending
	config.FilterSubject, config.FilterSubjects = "", nil // see the package's doc
	if l.mark != nil {
		var info *jetstream.ConsumerInfo
		if cons != nil {
			info = cons.CachedInfo()
		}
		if config.Metadata, err = l.mark(ctx, info); err != nil {
			return nil, err
		}
	}
	config.Metadata = maps.Clone(config.Metadata)
	if config.Metadata == nil {
		config.Metadata = make(map[string]string)
	}
	config.Metadata[familyMark] = l.cfg.Durable
	cons, err = l.js.CreateOrUpdateConsumer(ctx, l.cfg.Stream, config)
	if err != nil {
		return nil, fmt.Errorf("declare consumer: %w", err)
	}
	return cons, nil
}

// firstConfig says where a consumer that is not there yet begins.
func (l *lane) firstConfig(ctx context.Context) (jetstream.ConsumerConfig, error) {
	config := jetstream.ConsumerConfig{Durable: l.durable, DeliverPolicy: jetstream.DeliverAllPolicy}
	from, err := l.begin(ctx)
	switch {
	case err != nil:
		return config, fmt.Errorf("find out where to begin: %w", err)
	case from.seq > 0:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from.seq
	case !from.at.IsZero():
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &from.at
	}
	return config, nil
}

// step takes what is waiting, at most one batch, and works it off.
func (l *lane) step(ctx context.Context) (int, error) {
	stop := l.tags.run(ctx)
	defer stop()
	cons, err := l.ensure(ctx)
	if err != nil {
		return 0, err
	}
	fetched, err := cons.FetchNoWait(l.cfg.Batch)
	if err != nil {
		return 0, fmt.Errorf("fetch batch: %w", err)
	}
	var msgs []jetstream.Msg
	for m := range fetched.Messages() {
		msgs = append(msgs, m)
	}
	if err := fetched.Error(); err != nil && len(msgs) == 0 {
		return 0, fmt.Errorf("fetch batch: %w", err)
	}
	if err := l.work(ctx, msgs); err != nil {
		return 0, err
	}
	l.tags.drain(ctx)
	return len(msgs), nil
}
