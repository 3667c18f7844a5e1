package invalidate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	pullBytes     = 16 << 20         // of one pull request; nats.go drops messages beyond 64 MiB
	pullExpiry    = 30 * time.Second // of one pull request
	pullHeartbeat = 5 * time.Second  // two of these without a sign and the consumer counts as lost

	linger = 100 * time.Millisecond // in which the server fills the requests that are open
)

// A feed receives the messages of a consumer: the client library keeps pull requests open, so that one
// message comes at once and a backlog comes in a stream. What was received and not taken waits in the feed,
// at most a batch; then it takes no more from the library, which in turn asks the server for no more.
//
// It ends in two steps. First it takes no more: the server fills the requests that are open, at most a window
// of messages. Then it unsubscribes, and what came into the library comes into the feed. At once would be
// too early: what the server has on its way to a subscription that is gone gets lost until AckWait is over.
type feed struct {
	consuming jetstream.ConsumeContext
	wake      chan struct{} // capacity one: look into msgs
	lost      chan error    // capacity one: why the server does not deliver any more

	mu    sync.Mutex
	room  sync.Cond // msgs became shorter, or limit was lifted
	msgs  []jetstream.Msg
	limit int  // of msgs; none once the feed is held
	stall bool // take no more, whatever the limit
	ended bool // held
}

// openFeed begins to receive. The caller must hold the feed in the end.
func openFeed(cons jetstream.Consumer, batch, window int) (*feed, error) {
	f := &feed{wake: make(chan struct{}, 1), lost: make(chan error, 1), limit: batch}
	f.room.L = &f.mu
	var err error
	f.consuming, err = cons.Consume(f.put,
		jetstream.PullMaxMessagesWithBytesLimit(window, pullBytes),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			select {
			case f.lost <- err:
			default: // one reason is enough
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	return f, nil
}

// put is called by the client library for each message, in its goroutine.
func (f *feed) put(msg jetstream.Msg) {
	f.mu.Lock()
	for !f.ended && (f.stall || len(f.msgs) >= f.limit) {
		f.room.Wait()
	}
	f.msgs = append(f.msgs, msg)
	f.mu.Unlock()
	f.ring()
}

func (f *feed) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take moves up to limit waiting messages into the buffer, without waiting for any.
func (f *feed) take(buffer []jetstream.Msg, limit int) []jetstream.Msg {
	f.mu.Lock()
	n := min(limit, len(f.msgs))
	buffer = append(buffer[:0], f.msgs[:n]...)
	rest := copy(f.msgs, f.msgs[n:])
	clear(f.msgs[rest:])
	f.msgs = f.msgs[:rest]
	f.mu.Unlock()
	f.room.Broadcast()
	if rest > 0 {
		f.ring()
	}
	return buffer
}

// hold unsubscribes. What was delivered can still be taken. It does not wait, and may be called again and
// from any goroutine.
func (f *feed) hold() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.room.Broadcast()
	f.consuming.Drain()
}

// held says whether hold was called.
func (f *feed) held() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// settle ends the feed and waits until it has received the last message, or ctx ends.
func (f *feed) settle(ctx context.Context) {
	f.mu.Lock()
	f.stall = true
	f.mu.Unlock()
	if !f.held() && wait(ctx, linger) != nil {
		f.hold()
		return
	}
	f.hold()
	select {
	case <-f.consuming.Closed():
	case <-ctx.Done():
	}
}

// touch tells the server that the waiting messages are still wanted.
func (f *feed) touch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, msg := range f.msgs {
		_ = msg.InProgress() // the server gives it to us again if this does not arrive
	}
}
