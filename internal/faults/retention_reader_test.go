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

// reader consumes the stream during the run, because stream and table drop old events. It requires every position once
// and in order, and the numbers of each writer once and in order.
type reader struct {
	messages jetstream.MessagesContext
	done     chan struct{}

	mu                                sync.Mutex
	events                            int64
	position                          int64
	sequence                          uint64
	number                            map[string]int64 // last number of each writer
	lost, twice, reordered, misplaced int64
	errors                            []string // the first ten
}

func (rs *retentionSoak) startReader(t *testing.T) *reader {
	t.Helper()
	consumer, err := rs.s.js.OrderedConsumer(t.Context(), rs.s.stream, jetstream.OrderedConsumerConfig{})
	rs.s.must(err)
	messages, err := consumer.Messages()
	rs.s.must(err)
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
			err = r.check(m)
		}
		if err != nil && len(r.errors) < 10 {
			r.errors = append(r.errors, err.Error())
		}
		r.mu.Unlock()
	}
}

func (r *reader) count() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events
}

// check checks one message.
func (r *reader) check(m jetstream.Msg) error {
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
		err = fmt.Errorf("got position %d at sequence %d after position %d at %d", e.Position, sequence, r.position, r.sequence)
	}
	r.position, r.sequence = e.Position, meta.Sequence.Stream
	if e.Key == "" {
		if !strings.Contains(e.Subject, ".probe.") {
			r.misplaced++
			return fmt.Errorf("got foreign event with subject %s", e.Subject)
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
	return fmt.Errorf("%s: got number %d after %d", e.Key, n, last)
}
