package invalidate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/consume"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	requestTimeout = 5 * time.Second  // for one request to the JetStream API
	reconnectAfter = 10 * time.Second // of attempts through one node, if the client knows several
	longestPause   = 5 * time.Second  // between two attempts to reach a server
)

// ensure returns the JetStream consumer and creates it if it is missing. It waits for the stream and for the server
// until ctx ends, and logs once what it waits for. It returns the error of ctx, the error of a server that rejects the
// first declaration, or nats.ErrConnectionClosed.
func (c *consumer) ensure(ctx context.Context) (jetstream.Consumer, error) {
	retry := consume.NewBackoff(longestPause)
	began := time.Now()
	var logged, missing bool
	for {
		cons, err := c.declare(ctx)
		switch {
		case err == nil:
			if logged {
				c.log.Info("consumer available, continuing")
			}
			c.declared = true
			return cons, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed), !c.declared && consume.Refused(err):
			return nil, err
		case errors.Is(err, jetstream.ErrStreamNotFound):
			if !missing {
				c.log.Warn("stream does not exist yet, waiting for it")
			}
			logged, missing = true, true
		case !logged:
			c.log.Warn("consumer not available, retrying", "err", err)
			logged = true
		case time.Since(began) > reconnectAfter && len(c.js.Conn().Servers()) > 1:
			began = time.Now() // this node may be partitioned from the others while the connection to it works
			c.log.Warn("consumer not available through this node, reconnecting to another", "url", c.js.Conn().ConnectedUrlRedacted())
			_ = c.js.Conn().ForceReconnect() // fails only if the connection is closed, which the next attempt returns
		}
		if err := wait.For(ctx, retry.NextBackOff()); err != nil {
			return nil, err
		}
	}
}

// declare gives the JetStream consumer the configuration that it must have, once per process: afterwards it only
// returns an existing consumer, because another process may have a newer configuration by then.
func (c *consumer) declare(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var config jetstream.ConsumerConfig
	cons, err := c.js.Consumer(ctx, c.cfg.Stream, c.durable)
	switch {
	case err == nil && c.declared:
		return cons, nil
	case err == nil:
		config = cons.CachedInfo().Config // keeps the start position, which the server does not allow to change
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		if config, err = c.initialConfig(ctx); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("read consumer: %w", err)
	}
	config.AckPolicy = jetstream.AckExplicitPolicy
	config.AckWait = c.cfg.AckWait
	config.BackOff = nil // would take precedence over AckWait
	config.MaxDeliver = -1
	config.MaxAckPending = c.cfg.MaxAckPending
	config.FilterSubject, config.FilterSubjects = "", nil // see "No subject filter" in the package documentation
	if c.metadata != nil {
		var info *jetstream.ConsumerInfo
		if cons != nil {
			info = cons.CachedInfo()
		}
		if config.Metadata, err = c.metadata(ctx, info); err != nil {
			return nil, err
		}
	}
	config.Metadata = maps.Clone(config.Metadata)
	if config.Metadata == nil {
		config.Metadata = make(map[string]string)
	}
	config.Metadata[familyKey] = c.cfg.Durable
	cons, err = c.js.CreateOrUpdateConsumer(ctx, c.cfg.Stream, config)
	if err != nil {
		return nil, fmt.Errorf("declare consumer: %w", err)
	}
	return cons, nil
}

// initialConfig returns the configuration of a consumer that does not exist yet, with its start position.
func (c *consumer) initialConfig(ctx context.Context) (jetstream.ConsumerConfig, error) {
	config := jetstream.ConsumerConfig{Durable: c.durable, DeliverPolicy: jetstream.DeliverAllPolicy}
	start, err := c.startAt(ctx)
	switch {
	case err != nil:
		return config, fmt.Errorf("find start position: %w", err)
	case start.seq > 0:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, start.seq
	case !start.at.IsZero():
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &start.at
	}
	return config, nil
}
