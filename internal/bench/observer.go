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

// An observer sees the acks of the stream beside the one who published, on a connection of its own: the last token of
// the subject that an ack comes to is the number of what it is for, in the relay's messages (the position) and in those of a
// floor.
type observer struct {
	nc     *nats.Conn
	prefix string // of the publisher's inboxes

	mu   sync.Mutex
	at   map[int64]time.Time
	more chan struct{} // capacity 1
}

func (l *lab) observe() (*observer, error) {
	o := &observer{prefix: fmt.Sprintf("_INBOX_%s_%d", l.name, l.made.Add(1)), at: make(map[int64]time.Time), more: make(chan struct{}, 1)}
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
	n, err := strconv.ParseInt(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
	if err != nil || !bytes.HasPrefix(m.Data, ackBegin) || !bytes.Contains(m.Data, []byte(`"seq"`)) {
		return // an answer to something else
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
