package invalidate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A startPosition is where the server begins to deliver to a new consumer: at a sequence if seq is set, otherwise with
// the messages stored since a time if at is set, otherwise with the first message of the stream.
type startPosition struct {
	seq uint64
	at  time.Time
}

// recentSlack is how much further back than its delay a new echo starts.
const recentSlack = time.Minute

// fromFirst starts with the first message of the stream.
func fromFirst(context.Context) (startPosition, error) { return startPosition{}, nil }

// fromRecentPast starts an echo so far in the past that it covers every event whose echo is not due yet. If the
// consumer that deletes at once does not exist or has a large backlog, the echo starts with the first message.
func (v *Invalidator) fromRecentPast(delay time.Duration) func(context.Context) (startPosition, error) {
	return func(ctx context.Context) (startPosition, error) {
		cons, err := v.js.Consumer(ctx, v.cfg.Stream, v.cfg.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return startPosition{}, nil
		}
		if err != nil {
			return startPosition{}, fmt.Errorf("read consumer: %w", err)
		}
		info := cons.CachedInfo()
		if info.AckFloor.Last == nil || info.NumPending > uint64(v.cfg.MaxAckPending) {
			return startPosition{}, nil
		}
		return startPosition{at: info.AckFloor.Last.Add(-delay - recentSlack)}, nil
	}
}

// fromPresent starts with the messages stored from now on. A staleness check starts there, because an older event may
// have waited for the first invalidator for any length of time.
func (v *Invalidator) fromPresent(ctx context.Context) (startPosition, error) {
	s, err := v.js.Stream(ctx, v.cfg.Stream)
	if err != nil {
		return startPosition{}, fmt.Errorf("read stream: %w", err)
	}
	return startPosition{at: s.CachedInfo().TimeStamp}, nil
}
