package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// keyName returns the k-th Redis key of the event with a key.
func (s *session) keyName(eventKey string, k int) string {
	return fmt.Sprintf("%s:%s:%d", s.name, eventKey, k)
}

// fillKeys creates all keys of n events.
func (s *session) fillKeys(ctx context.Context, n int) error {
	k := s.set.Keys
	return s.keys.fill(ctx, s.rdb, s.name, keySet{n * k, func(i int) string { return s.keyName(fmt.Sprint(i/k), i%k) }})
}

// rules returns rules for the keys of the events of a stream. A rule may have at most 100 keys.
func (s *session) rules(stream string) (*rules.Set, error) {
	var b strings.Builder
	b.WriteString("rules:\n")
	for from := 0; from < s.set.Keys; from += 100 {
		fmt.Fprintf(&b, "  - subject: %s.>\n    keys:\n", stream)
		for k := from; k < min(from+100, s.set.Keys); k++ {
			fmt.Fprintf(&b, "      - %q\n", s.keyName("${key}", k))
		}
	}
	return rules.Parse("bench", []byte(b.String()))
}

// An onDeleted receives the keys of a batch of events, when their Redis keys were deleted, and how many of those existed.
type onDeleted func(events []string, at time.Time, existed int)

// startInvalidator runs an invalidator in this process, with a new consumer, until stop is called.
func (s *session) startInvalidator(ctx context.Context, stream, durable string, set *rules.Set, done onDeleted) (stop func() error, err error) {
	nc, js, err := s.connect()
	if err != nil {
		return nil, err
	}
	v, err := invalidate.New(js, s.rdb, invalidate.Config{
		Stream: stream, Durable: durable, Rules: set, Echo: []time.Duration{}, Staleness: []time.Duration{}, TagRate: -1, RedeliveryWindow: -1,
		Observe: func(d invalidate.Done) {
			keys := make([]string, len(d.Events))
			for i := range d.Events {
				keys[i] = d.Events[i].Key
			}
			done(keys, d.Unlinked, d.Deleted)
		},
	})
	if err != nil {
		nc.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	return func() error {
		cancel()
		err := <-ended
		nc.Close()
		return err
	}, nil
}

// perPipeline is how many events one pipeline serves at most, for the floor as for the invalidator.
const perPipeline = 256

// startConsumer is the floor of the invalidator: it pulls, deletes and acknowledges, without rules, retries and dead letters.
func (s *session) startConsumer(ctx context.Context, stream, durable string, done onDeleted) (stop func() error, err error) {
	nc, js, err := s.connect()
	if err != nil {
		return nil, err
	}
	cons, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 8192, MaxDeliver: -1,
	})
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("create consumer %s: %w", durable, err)
	}
	msgs := make(chan jetstream.Msg, 2*perPipeline)
	ctx, cancel := context.WithCancel(ctx)
	consuming, err := cons.Consume(func(m jetstream.Msg) {
		select {
		case msgs <- m:
		case <-ctx.Done():
		}
	}, jetstream.PullMaxMessages(4096))
	if err != nil {
		cancel()
		nc.Close()
		return nil, fmt.Errorf("consume %s: %w", durable, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.deleteAll(ctx, msgs, done) }()
	return func() error {
		cancel()
		consuming.Stop()
		<-consuming.Closed()
		err := <-ended
		nc.Close()
		return err
	}, nil
}

// deleteAll takes the available messages, deletes their keys in one pipeline, acknowledges them, and repeats that until ctx
// ends.
func (s *session) deleteAll(ctx context.Context, msgs <-chan jetstream.Msg, done onDeleted) error {
	var batch []jetstream.Msg
	for {
		batch = batch[:0]
		select {
		case m := <-msgs:
			batch = append(batch, m)
		case <-ctx.Done():
			return nil
		}
		for len(batch) < perPipeline && len(msgs) > 0 {
			batch = append(batch, <-msgs)
		}
		keys, existed, err := s.deleteBatch(ctx, batch)
		if err != nil {
			return err
		}
		at := time.Now()
		for _, m := range batch {
			if err := m.Ack(); err != nil {
				return fmt.Errorf("ack: %w", err)
			}
		}
		done(keys, at, existed)
	}
}

func (s *session) deleteBatch(ctx context.Context, batch []jetstream.Msg) (keys []string, existed int, err error) {
	p := s.rdb.Pipeline()
	for _, m := range batch {
		key := m.Headers().Get(event.HeaderKey)
		keys = append(keys, key)
		for k := range s.set.Keys {
			p.Unlink(ctx, s.keyName(key, k))
		}
	}
	existed, err = unlinked(p.Exec(context.WithoutCancel(ctx)))
	return keys, existed, err
}

// unlinked returns how many keys existed, by the replies to a pipeline of UNLINK.
func unlinked(replies []redis.Cmder, err error) (existed int, _ error) {
	if err != nil {
		return 0, fmt.Errorf("unlink: %w", err)
	}
	for _, reply := range replies {
		if n, ok := reply.(*redis.IntCmd); ok {
			existed += int(n.Val())
		}
	}
	return existed, nil
}

// publishEvents publishes n events to a stream, in the format of the relay.
func (s *session) publishEvents(ctx context.Context, stream string, n int) error {
	nc, js, err := s.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	payload := []byte(strings.Repeat("x", s.set.Payload))
	messages := newMessages(stream, n, 0)
	for i := range n {
		e := event.Event{Key: fmt.Sprint(i), Position: int64(i + 1), CreatedAt: time.Now()}
		msg := &nats.Msg{Subject: messages.subject(i), Data: payload, Header: nats.Header{}}
		e.SetHeaders(msg.Header)
		msg.Header.Set(event.HeaderMsgID, messages.ids[i])
		if _, err := js.PublishMsgAsync(msg, jetstream.WithRetryAttempts(0), jetstream.WithStallWait(ackTimeout)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	if err := awaitComplete(ctx, js); err != nil {
		return err
	}
	return s.checkMessages(ctx, stream, n)
}
