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

// An observer sees the acks of the stream beside the one who published, on a connection of its own.
type observer struct {
	nc     *nats.Conn
	prefix string // of the publisher's inboxes
	number func(*nats.Msg) (int64, error)

	mu   sync.Mutex
	at   map[int64]time.Time
	more chan struct{} // capacity 1
}

// bySequence numbers a relay's acks: in a new stream the sequence is the position.
func bySequence(m *nats.Msg) (int64, error) {
	_, digits, _ := bytes.Cut(m.Data, []byte(`"seq":`))
	digits, _, _ = bytes.Cut(digits, []byte(`}`))
	return strconv.ParseInt(string(digits), 10, 64)
}

// byReply numbers a floor's acks: the last token of the subject that an ack comes to is the number of its event.
func byReply(m *nats.Msg) (int64, error) {
	return strconv.ParseInt(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
}

func (l *lab) observe(number func(*nats.Msg) (int64, error)) (*observer, error) {
	o := &observer{number: number, prefix: fmt.Sprintf("_INBOX_%s_%d", l.name, l.made.Add(1)), at: make(map[int64]time.Time), more: make(chan struct{}, 1)}
	nc, _, err := l.connect()
	if err != nil {
		return nil, err
	}
	o.nc = nc
	if _, err := nc.Subscribe(o.prefix+".>", o.saw); err != nil {
		nc.Close()
		return nil, fmt.Errorf("subscribe to acks: %w", err)
	}
	if err := nc.Flush(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("subscribe to acks: %w", err)
	}
	return o, nil
}

// inbox is the option of the publisher's connection.
func (o *observer) inbox() nats.Option { return nats.CustomInboxPrefix(o.prefix) }

var ackBegin = []byte(`{"stream":`)

func (o *observer) saw(m *nats.Msg) {
	now := time.Now()
	if !bytes.HasPrefix(m.Data, ackBegin) || !bytes.Contains(m.Data, []byte(`"seq"`)) {
		return // an answer to something else
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

// acked waits until n acks came and returns when each did, by number.
func (o *observer) acked(ctx context.Context, n int, within time.Duration) (map[int64]time.Time, error) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		o.mu.Lock()
		have := len(o.at)
		o.mu.Unlock()
		if have >= n {
			return o.copy(), nil
		}
		select {
		case <-o.more:
		case <-timer.C:
			return nil, fmt.Errorf("%d acks of %d came within %s", have, n, within)
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
