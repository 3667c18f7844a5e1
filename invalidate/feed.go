package invalidate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	pullBytes     = 16 << 20        // of one pull request, at least
	pullHeartbeat = 2 * time.Second // two of these without a sign and the consumer counts as lost
	linger        = 100 * time.Millisecond
)

// A feed receives the messages of a consumer by one pull request after the other, each for up to a window of
// messages: one that comes alone comes at once, a backlog in a stream. What was received and not taken waits
// in the feed. The next request is made when that is less than a batch, so the feed never holds more than a
// batch and a window, and nothing is fetched while nobody takes.
//
// A request, once made, is left to be filled. Who takes it back too early loses what the server has sent on
// it until AckWait is over; that is why this does not use Consume, which cannot be stopped otherwise.
type feed struct {
	cons   jetstream.Consumer
	batch  int
	window int
	bytes  int
	wake   chan struct{}      // capacity one: look into msgs
	lost   chan error         // capacity one: why the server does not deliver any more
	cancel context.CancelFunc // takes the open request back
	done   chan struct{}      // closed when nothing will be received any more

	mu       sync.Mutex
	room     sync.Cond // msgs became shorter, or ended
	msgs     []jetstream.Msg
	received int
	ended    bool // make no more requests
}

// openFeed begins to receive. The caller must finish the feed. The largest message the server may have is
// payload bytes.
func openFeed(cons jetstream.Consumer, batch, window int, payload int64) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{
		cons: cons, batch: batch, window: window, bytes: max(pullBytes, 2*int(payload)),
		wake: make(chan struct{}, 1), lost: make(chan error, 1), cancel: cancel, done: make(chan struct{}),
	}
	f.room.L = &f.mu
	go func() {
		defer close(f.done)
		f.receive(ctx)
	}()
	return f
}

// receive makes requests until the feed ends or the server does not answer them.
func (f *feed) receive(ctx context.Context) {
	for f.waitForRoom() {
		if err := f.pull(ctx); err != nil {
			f.lost <- err
			return
		}
	}
}

// pull makes one request and takes in what it brings.
func (f *feed) pull(ctx context.Context) error {
	got, err := f.cons.Fetch(f.window,
		jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(pullHeartbeat), jetstream.FetchMaxBytes(f.bytes))
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	for msg := range got.Messages() {
		f.mu.Lock()
		f.msgs = append(f.msgs, msg)
		f.received++
		f.mu.Unlock()
		f.ring()
	}
	if err := got.Error(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}

// waitForRoom returns when less than a batch is waiting, and false when the feed ends.
func (f *feed) waitForRoom() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.ended && len(f.msgs) >= f.batch {
		f.room.Wait()
	}
	return !f.ended
}

func (f *feed) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take moves up to a batch of waiting messages into the buffer, without waiting for any.
func (f *feed) take(buffer []jetstream.Msg) []jetstream.Msg {
	f.mu.Lock()
	n := min(f.batch, len(f.msgs))
	buffer = append(buffer[:0], f.msgs[:n]...)
	rest := copy(f.msgs, f.msgs[n:])
	clear(f.msgs[rest:])
	f.msgs = f.msgs[:rest]
	f.mu.Unlock()
	f.room.Signal()
	if rest > 0 {
		f.ring()
	}
	return buffer
}

// finish makes no more requests and waits for the open one: until it is filled, has brought nothing for a
// while, or ctx ends. What was received can be taken then.
func (f *feed) finish(ctx context.Context) {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.room.Signal()
	for quiet := false; !quiet; {
		before := f.count()
		select {
		case <-f.done:
			return
		case <-ctx.Done():
			quiet = true
		case <-time.After(linger):
			quiet = f.count() == before
		}
	}
	f.cancel()
	<-f.done
}

func (f *feed) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.received
}

// touch tells the server that the waiting messages are still wanted.
func (f *feed) touch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, msg := range f.msgs {
		_ = msg.InProgress() // the server gives it to us again if this does not arrive
	}
}
