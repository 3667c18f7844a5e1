package bench

import (
	"context"
	"errors"
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

// keyName is key k of the event whose key is given, in Redis.
func (l *lab) keyName(ev string, k int) string { return fmt.Sprintf("%s:%s:%d", l.name, ev, k) }

// fillKeys makes every key of n events exist.
func (l *lab) fillKeys(ctx context.Context, n int) error {
	k := l.set.Keys
	return l.keys.fill(ctx, l.rdb, l.name, keySet{n * k, func(i int) string { return l.keyName(fmt.Sprint(i/k), i%k) }})
}

// rules name the keys of each event of a stream: a hundred in a rule, which is as many as one may have.
func (l *lab) rules(stream string) (*rules.Set, error) {
	var b strings.Builder
	b.WriteString("rules:\n")
	for from := 0; from < l.set.Keys; from += 100 {
		fmt.Fprintf(&b, "  - subject: %s.>\n    keys:\n", stream)
		for k := from; k < min(from+100, l.set.Keys); k++ {
			fmt.Fprintf(&b, "      - %q\n", l.keyName("${key}", k))
		}
	}
	return rules.Parse("bench", []byte(b.String()))
}

// An eviction is told what was worked off: which events, when their keys were gone, and how many had existed.
type eviction func(keys []string, gone time.Time, deleted int)

// invalidator runs an invalidator in this process until stop is called. The consumer is made anew.
func (l *lab) invalidator(ctx context.Context, stream, durable string, set *rules.Set, tell eviction) (stop func() error, err error) {
	nc, js, err := l.connect()
	if err != nil {
		return nil, err
	}
	v, err := invalidate.New(js, l.rdb, invalidate.Config{
		Stream: stream, Durable: durable, Rules: set, Echo: []time.Duration{}, Staleness: []time.Duration{}, TagRate: -1, RedeliveryWindow: -1,
		Observe: func(d invalidate.Done) {
			keys := make([]string, len(d.Events))
			for i := range d.Events {
				keys[i] = d.Events[i].Key
			}
			tell(keys, d.Unlinked, d.Deleted)
		},
	})
	if err != nil {
		nc.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	return func() error {
		cancel()
		err := <-done
		nc.Close()
		return err
	}, nil
}

// perPipeline is how many events one pipeline serves at most, here and in the invalidator.
const perPipeline = 256

// consumeFloor is the invalidator without rules, retries, dead letters and everything else: pull, UNLINK, ack.
func (l *lab) consumeFloor(ctx context.Context, stream, durable string, tell eviction) (stop func() error, err error) {
	nc, js, err := l.connect()
	if err != nil {
		return nil, err
	}
	cons, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 8192, MaxDeliver: -1,
	})
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("make consumer %s: %w", durable, err)
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
	done := make(chan error, 1)
	go func() { done <- l.unlinkAll(ctx, msgs, tell) }()
	return func() error {
		cancel()
		consuming.Stop()
		<-consuming.Closed()
		err := <-done
		nc.Close()
		return err
	}, nil
}

// unlinkAll takes what is there, deletes its keys in one pipeline, and acks it, until ctx ends.
func (l *lab) unlinkAll(ctx context.Context, msgs <-chan jetstream.Msg, tell eviction) error {
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
		keys, deleted, err := l.unlinkBatch(ctx, batch)
		if err != nil {
			return err
		}
		gone := time.Now()
		for _, m := range batch {
			if err := m.Ack(); err != nil {
				return fmt.Errorf("ack: %w", err)
			}
		}
		tell(keys, gone, deleted)
	}
}

func (l *lab) unlinkBatch(ctx context.Context, batch []jetstream.Msg) (keys []string, deleted int, err error) {
	p := l.rdb.Pipeline()
	for _, m := range batch {
		key := m.Headers().Get(event.HeaderKey)
		keys = append(keys, key)
		for k := range l.set.Keys {
			p.Unlink(ctx, l.keyName(key, k))
		}
	}
	replies, err := p.Exec(context.WithoutCancel(ctx))
	if err != nil {
		return nil, 0, fmt.Errorf("unlink: %w", err)
	}
	for _, reply := range replies {
		if n, ok := reply.(*redis.IntCmd); ok {
			deleted += int(n.Val())
		}
	}
	return keys, deleted, nil
}

// eventsIn publishes n events to a stream, as the relay does.
func (l *lab) eventsIn(ctx context.Context, stream string, n int) error {
	nc, js, err := l.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	payload := []byte(strings.Repeat("x", l.set.Payload))
	letters := newLetters(stream, n, 0)
	for i := range n {
		e := event.Event{Key: fmt.Sprint(i), Position: int64(i + 1), CreatedAt: time.Now()}
		msg := &nats.Msg{Subject: letters.subject(i), Data: payload, Header: nats.Header{}}
		e.SetHeaders(msg.Header)
		msg.Header.Set(event.HeaderMsgID, letters.ids[i])
		if _, err := js.PublishMsgAsync(msg, jetstream.WithRetryAttempts(0), jetstream.WithStallWait(ackWait)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ackWait):
		return errors.New("publish: acks did not come")
	}
	return l.expect(ctx, stream, n)
}
