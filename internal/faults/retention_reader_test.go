package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// reader reads the stream along: every position once and in order, every writer's numbers once and in order. Stream and
// table both forget what is old, and it must not.
type reader struct {
	messages jetstream.MessagesContext
	done     chan struct{}

	mu                                sync.Mutex
	events                            int64
	position                          int64
	sequence                          uint64
	number                            map[string]int64 // of each writer, the last
	lost, twice, reordered, misplaced int64
	said                              []string // of the first faults
}

func (u *turnover) read(t *testing.T) *reader {
	t.Helper()
	consumer, err := u.s.js.OrderedConsumer(t.Context(), u.s.stream, jetstream.OrderedConsumerConfig{})
	u.s.must(err)
	messages, err := consumer.Messages()
	u.s.must(err)
	r := &reader{messages: messages, done: make(chan struct{}), number: make(map[string]int64)}
	go func() {
		defer close(r.done)
		r.run()
	}()
	t.Cleanup(r.stop)
	return r
}

func (r *reader) stop() {
	r.messages.Stop()
	<-r.done
}

func (r *reader) run() {
	for {
		m, err := r.messages.Next(jetstream.NextContext(context.Background()))
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return
		}
		r.mu.Lock()
		if err == nil {
			err = r.take(m)
		}
		if err != nil && len(r.said) < 10 {
			r.said = append(r.said, err.Error())
		}
		r.mu.Unlock()
	}
}

func (r *reader) count() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events
}

// take judges one message.
func (r *reader) take(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return err
	}
	e, err := event.Parse(m.Subject(), m.Headers(), m.Data())
	if err != nil {
		return err
	}
	r.events++
	if sequence := meta.Sequence.Stream; e.Position != r.position+1 || sequence != r.sequence+1 {
		r.misplaced++
		err = fmt.Errorf("position %d at sequence %d after %d at %d", e.Position, sequence, r.position, r.sequence)
	}
	r.position, r.sequence = e.Position, meta.Sequence.Stream
	if e.Key == "" {
		if !strings.Contains(e.Subject, ".probe.") {
			r.misplaced++
			return fmt.Errorf("foreign event on %s", e.Subject)
		}
		return err
	}
	text, _, _ := bytes.Cut(e.Payload, []byte(" "))
	n, bad := strconv.ParseInt(string(text), 10, 64)
	if bad != nil {
		return bad
	}
	last := r.number[e.Key]
	switch {
	case n == last+1:
		r.number[e.Key] = n
		return err
	case n == last:
		r.twice++
	case n < last:
		r.reordered++
	default:
		r.lost += n - last - 1
		r.number[e.Key] = n
	}
	return fmt.Errorf("%s: number %d after %d", e.Key, n, last)
}
