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

// ackWait bounds the wait for acks, as the relay's does.
const ackWait = 10 * time.Second

// letters are the messages of a floor: as many, with ids, subjects and payloads as the relay's have.
type letters struct {
	ids      []string
	subjects []string
	payload  []byte
}

func newLetters(stream string, n, payload int) *letters {
	l := &letters{ids: make([]string, n), subjects: make([]string, 1000), payload: bytes.Repeat([]byte("x"), payload)}
	for i := range l.ids {
		l.ids[i] = uuid.NewString()
	}
	for i := range l.subjects {
		l.subjects[i] = stream + "." + strconv.Itoa(i)
	}
	return l
}

func (l *letters) subject(i int) string { return l.subjects[i%len(l.subjects)] }

// publishFloor measures one way to publish to a new stream.
func (l *lab) publishFloor(ctx context.Context, m *meter, publish func(context.Context, *lab, *letters) error) error {
	stream, err := l.stream(ctx)
	if err != nil {
		return err
	}
	letters := newLetters(stream, l.set.Events, l.set.Payload)
	m.start()
	err = publish(ctx, l, letters)
	m.stop(l.set.Events)
	if err == nil {
		err = l.expect(ctx, stream, l.set.Events)
	}
	return errors.Join(err, l.js.DeleteStream(ctx, stream))
}

// expect checks that the stream has what was published: a floor must have done the work, too.
func (l *lab) expect(ctx context.Context, stream string, n int) error {
	s, err := l.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", stream, err)
	}
	if have := s.CachedInfo().State.Msgs; have != uint64(n) { // #nosec G115 -- not negative
		return fmt.Errorf("stream %s has %d messages, want %d", stream, have, n)
	}
	return nil
}

// publishAsync is what an application does: the client's async publish with message ids.
func publishAsync(ctx context.Context, l *lab, letters *letters) error {
	nc, _, err := l.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	refused := make(chan error, 1)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(l.set.Window),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			select {
			case refused <- err:
			default:
			}
		}))
	if err != nil {
		return fmt.Errorf("use jetstream: %w", err)
	}
	for i, id := range letters.ids {
		msg := &nats.Msg{Subject: letters.subject(i), Data: letters.payload}
		if _, err := js.PublishMsgAsync(msg, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0), jetstream.WithStallWait(ackWait)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(ackWait):
		return fmt.Errorf("%d acks did not come within %s", js.PublishAsyncPending(), ackWait)
	}
	select {
	case err := <-refused:
		return fmt.Errorf("publish: %w", err)
	default:
		return nil
	}
}

// publishByHand is the least that a client can do: publish with ids, count acks.
func publishByHand(ctx context.Context, l *lab, letters *letters) error {
	nc, _, err := l.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	acks := make(chan *nats.Msg, l.set.Window+1)
	inbox := nc.NewInbox()
	if _, err := nc.ChanSubscribe(inbox, acks); err != nil {
		return fmt.Errorf("subscribe to acks: %w", err)
	}
	patience := time.NewTicker(ackWait)
	defer patience.Stop()
	flying, taken, before := 0, 0, -1
	take := func() error {
		select {
		case ack := <-acks:
			flying, taken = flying-1, taken+1
			if bytes.Contains(ack.Data, []byte(`"error"`)) {
				return fmt.Errorf("publish: %s", ack.Data)
			}
			return nil
		case <-patience.C:
			if taken == before {
				return fmt.Errorf("%d acks did not come within %s", flying, ackWait)
			}
			before = taken
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	msg := nats.Msg{Header: nats.Header{}, Data: letters.payload, Reply: inbox}
	for i, id := range letters.ids {
		msg.Subject = letters.subject(i)
		msg.Header[jetstream.MsgIDHeader] = []string{id}
		for flying >= l.set.Window {
			if err := take(); err != nil {
				return err
			}
		}
		if err := nc.PublishMsg(&msg); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		flying++
		for len(acks) > 0 {
			if err := take(); err != nil {
				return err
			}
		}
	}
	for flying > 0 {
		if err := take(); err != nil {
			return err
		}
	}
	return nil
}
