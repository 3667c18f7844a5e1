package bench

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// An observer records the acks of a stream, on a connection of its own that subscribes to the publisher's inbox.
type observer struct {
	nc     *nats.Conn
	prefix string // of the publisher's inbox
	number func(*nats.Msg) (int64, error)

	mu   sync.Mutex
	at   map[int64]time.Time // by number
	more chan struct{}       // capacity 1; receives after each ack
}

// bySequence returns the sequence in an ack of a relay, which is the position of the event: the stream is new.
func bySequence(m *nats.Msg) (int64, error) {
	_, digits, _ := bytes.Cut(m.Data, []byte(`"seq":`))
	digits, _, _ = bytes.Cut(digits, []byte(`}`))
	return strconv.ParseInt(string(digits), 10, 64)
}

// byReply returns the number of the event of a floor's ack, which is the last token of the reply subject.
func byReply(m *nats.Msg) (int64, error) {
	return strconv.ParseInt(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
}

// observe starts an observer that numbers acks with a function.
func (s *session) observe(number func(*nats.Msg) (int64, error)) (*observer, error) {
	o := &observer{number: number, prefix: "_INBOX_" + s.newName(), at: make(map[int64]time.Time), more: make(chan struct{}, 1)}
	nc, _, err := s.connect()
	if err != nil {
		return nil, err
	}
	o.nc = nc
	if _, err = nc.Subscribe(o.prefix+".>", o.receive); err == nil {
		err = nc.Flush()
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("subscribe to acks: %w", err)
	}
	return o, nil
}

// inbox returns an option for the publisher's connection.
func (o *observer) inbox() nats.Option { return nats.CustomInboxPrefix(o.prefix) }

var ackPrefix = []byte(`{"stream":`)

func (o *observer) receive(m *nats.Msg) {
	now := time.Now()
	if !bytes.HasPrefix(m.Data, ackPrefix) || !bytes.Contains(m.Data, []byte(`"seq"`)) {
		return // the reply to another request
	}
	n, err := o.number(m)
	if err != nil {
		return
	}
	o.mu.Lock()
	if _, known := o.at[n]; !known {
		o.at[n] = now
	}
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// await waits for n acks and returns the time of each, by number.
func (o *observer) await(ctx context.Context, n int, within time.Duration) (map[int64]time.Time, error) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		have := o.count()
		if have >= n {
			return o.copy(), nil
		}
		select {
		case <-o.more:
		case <-timer.C:
			return nil, fmt.Errorf("%d acks within %s, want %d", have, within, n)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (o *observer) copy() map[int64]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.at)
}

func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.at)
}

func (o *observer) close() { o.nc.Close() }
