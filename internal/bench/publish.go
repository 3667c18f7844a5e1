package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ackTimeout bounds the wait for acks, as the relay's default does.
const ackTimeout = 10 * time.Second

// messages are those of a floor. Their number, ids, subjects and payload correspond to those of the relay.
type messages struct {
	ids      []string
	subjects []string
	payload  []byte
}

func newMessages(stream string, n, payload int) *messages {
	m := &messages{ids: make([]string, n), subjects: make([]string, 1000), payload: bytes.Repeat([]byte("x"), payload)}
	for i := range m.ids {
		m.ids[i] = uuid.NewString()
	}
	for i := range m.subjects {
		m.subjects[i] = stream + "." + strconv.Itoa(i)
	}
	return m
}

func (m *messages) subject(i int) string { return m.subjects[i%len(m.subjects)] }

// publishFloor measures one way to publish messages to a new stream.
func (s *session) publishFloor(ctx context.Context, m *meter, publish func(context.Context, *session, *messages) error) error {
	stream, err := s.newStream(ctx)
	if err != nil {
		return err
	}
	messages := newMessages(stream, s.set.Events, s.set.Payload)
	m.start()
	err = publish(ctx, s, messages)
	m.stop(s.set.Events)
	if err == nil {
		err = s.checkMessages(ctx, stream, s.set.Events)
	}
	return errors.Join(err, s.js.DeleteStream(ctx, stream))
}

// publishAsync publishes with the client's async publish and message ids, as an application does.
func publishAsync(ctx context.Context, s *session, messages *messages) error {
	nc, _, err := s.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	rejected := make(chan error, 1)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(s.set.Window),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			select {
			case rejected <- err:
			default:
			}
		}))
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	for i, id := range messages.ids {
		msg := &nats.Msg{Subject: messages.subject(i), Data: messages.payload}
		if _, err := js.PublishMsgAsync(msg, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0), jetstream.WithStallWait(ackTimeout)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	if err := awaitComplete(ctx, js); err != nil {
		return err
	}
	select {
	case err := <-rejected:
		return fmt.Errorf("publish: %w", err)
	default:
		return nil
	}
}

// awaitComplete waits for the acks of all messages that js has published.
func awaitComplete(ctx context.Context, js jetstream.JetStream) error {
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ackTimeout):
		return fmt.Errorf("no ack for %d messages within %s", js.PublishAsyncPending(), ackTimeout)
	}
}

// publishMinimal publishes with message ids and counts acks, which is the least that a client can do.
func publishMinimal(ctx context.Context, s *session, messages *messages) error {
	nc, _, err := s.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	acks := make(chan *nats.Msg, s.set.Window+1)
	inbox := nc.NewInbox()
	if _, err := nc.ChanSubscribe(inbox, acks); err != nil {
		return fmt.Errorf("subscribe to acks: %w", err)
	}
	timeout := time.NewTicker(ackTimeout)
	defer timeout.Stop()
	pending, taken, before := 0, 0, -1
	take := func() error {
		select {
		case ack := <-acks:
			pending, taken = pending-1, taken+1
			if bytes.Contains(ack.Data, []byte(`"error"`)) {
				return fmt.Errorf("publish: %s", ack.Data)
			}
			return nil
		case <-timeout.C:
			if taken == before {
				return fmt.Errorf("no ack for %d messages within %s", pending, ackTimeout)
			}
			before = taken
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	msg := nats.Msg{Header: nats.Header{}, Data: messages.payload, Reply: inbox}
	for i, id := range messages.ids {
		msg.Subject = messages.subject(i)
		msg.Header[jetstream.MsgIDHeader] = []string{id}
		for pending >= s.set.Window {
			if err := take(); err != nil {
				return err
			}
		}
		if err := nc.PublishMsg(&msg); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		pending++
		for len(acks) > 0 {
			if err := take(); err != nil {
				return err
			}
		}
	}
	for pending > 0 {
		if err := take(); err != nil {
			return err
		}
	}
	return nil
}
