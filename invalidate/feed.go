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
	pullBytes   = 16 << 20               // of one pull request, at least
	pullOpen    = time.Second            // the server answers one request for so long: what an idle stop waits for
	pullSilence = pullOpen + time.Second // Fetch gives a request up that it has heard nothing of for so long
)

// errSilent says that the server did not even end two requests in a row, which it does when their time is over.
var errSilent = errors.New("no answer to two pull requests")

// A feed receives the messages of a consumer by one pull request after the other, each for up to a window of
// messages: one that comes alone comes at once, a backlog in a stream. What was received and not taken waits
// in the feed. The next request is made when that is less than half a window (or a batch, if that is more), so the server delivers
// while we work and the feed never holds more than that and a window; and nothing is fetched while nobody takes. A message can be left waiting until it is due; then
// nothing is fetched either, and little when it is due: what is in hand when we die comes again only after AckWait.
//
// A request, once made, is left open until the server says that it is over, filled or after pullOpen. That word
// comes behind everything sent on it. Who takes a request back loses what is on its way until AckWait is over,
// however long it was quiet before; that is why this does not use Consume, which cannot be stopped otherwise.
type feed struct {
	cons   jetstream.Consumer
	batch  int
	window int
	bytes  int
	wake   chan struct{}      // capacity one: look into msgs
	cancel context.CancelFunc // forgets the open request
	done   chan struct{}      // closed when nothing will be received any more
	err    error              // read after done: why the server does not deliver any more; nil after end

	mu    sync.Mutex
	room  sync.Cond // msgs became shorter, holds ended, or all did
	msgs  []received
	holds bool // what is there is not due yet
	ahead bool // it was so once since the last request: all that is due was taken
	ended bool // make no more requests
}

// received is a message and when it came.
type received struct {
	jetstream.Msg
	at time.Time
}

// openFeed begins to receive, with what another feed has left. The caller must close the feed. The largest message the
// server may have is payload bytes.
func openFeed(cons jetstream.Consumer, left []received, batch, window int, payload int64) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{
		cons: cons, msgs: left, batch: batch, window: window, bytes: max(pullBytes, 2*int(payload)),
		wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
	}
	f.room.L = &f.mu
	f.ring()
	go func() {
		defer close(f.done)
		f.err = f.receive(ctx)
	}()
	return f
}

// receive makes requests until the feed ends, which is no error, or the server does not answer them.
func (f *feed) receive(ctx context.Context) error {
	silent := false
	for n := f.waitForRoom(); n > 0; n = f.waitForRoom() {
		answered, err := f.pull(ctx, n)
		switch {
		case err != nil:
			return fmt.Errorf("fetch: %w", err)
		case !answered && silent:
			return errSilent
		}
		silent = !answered
	}
	return nil
}

// pull makes one request for up to n messages and takes in what it brings. It says whether the server was heard. When ctx ends it
// leaves the request alone; nobody reads it then, and Fetch ends by itself within pullSilence.
func (f *feed) pull(ctx context.Context, n int) (answered bool, err error) {
	heard := time.Now()
	got, err := f.cons.Fetch(n, jetstream.FetchMaxWait(pullOpen), jetstream.FetchMaxBytes(f.bytes))
	if err != nil {
		return false, err
	}
	for {
		select {
		case <-ctx.Done():
			return true, nil
		case msg, ok := <-got.Messages():
			if !ok {
				return time.Since(heard) < pullSilence, got.Error()
			}
			heard = time.Now()
			f.mu.Lock()
			f.msgs = append(f.msgs, received{msg, heard})
			f.mu.Unlock()
			f.ring()
		}
	}
}

// waitForRoom returns when less than half a window is waiting, how many messages are to be asked for, and 0 when the feed ends.
func (f *feed) waitForRoom() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.ended && (f.holds || len(f.msgs) >= max(f.batch, f.window/2)) {
		f.room.Wait()
	}
	n = f.window
	if f.ahead {
		n = f.batch
	}
	if f.ended {
		n = 0
	}
	f.ahead = false
	return n
}

func (f *feed) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take moves up to a batch of waiting messages into the buffer, without waiting for any, up to the first that is to be
// held back, and returns for how long that one is; 0 if none is.
func (f *feed) take(buffer []jetstream.Msg, held func(received) time.Duration) ([]jetstream.Msg, time.Duration) {
	var due time.Duration
	buffer = buffer[:0]
	f.mu.Lock()
	for _, m := range f.msgs[:min(f.batch, len(f.msgs))] {
		if due = held(m); due > 0 {
			break
		}
		buffer = append(buffer, m.Msg)
	}
	rest := copy(f.msgs, f.msgs[len(buffer):])
	clear(f.msgs[rest:])
	f.msgs = f.msgs[:rest]
	f.holds = due > 0
	f.ahead = f.ahead || f.holds
	f.mu.Unlock()
	f.room.Signal()
	if rest > 0 && due <= 0 {
		f.ring()
	}
	return buffer, max(due, 0)
}

// left returns what was not taken.
func (f *feed) left() []received {
	f.mu.Lock()
	defer f.mu.Unlock()
	msgs := f.msgs
	f.msgs = nil
	return msgs
}

// end makes no more requests. What the open one brings can be taken until done is closed, and after.
func (f *feed) end() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.room.Signal()
}

// close ends the feed without waiting for the open request.
func (f *feed) close() {
	f.end()
	f.cancel()
	<-f.done
}

// touch tells the server that the waiting messages are still wanted.
func (f *feed) touch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.msgs {
		_ = m.InProgress() // the server gives it to us again if this does not arrive
	}
}
