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
	pullBytes   = 16 << 20                 // minimum byte limit of one pull request
	pullExpiry  = time.Second              // the server ends a request after this time, so it bounds how long an idle stop takes
	pullSilence = pullExpiry + time.Second // Fetch gives up a request after so much time without a message
)

// errSilent means that the server did not end two requests in a row, which it does when they expire.
var errSilent = errors.New("no answer to two pull requests in a row")

// A puller receives the messages of one JetStream consumer by consecutive pull requests, each for up to a window of
// messages. A single message arrives at once, a backlog as a stream. Messages that were received but not taken wait in
// the puller. It makes the next request when fewer than half a window of them (or one batch, if that is more) are
// waiting. So the server delivers while the consumer processes, the puller never holds more than that number plus a
// window, and it requests nothing while nobody takes messages.
//
// If the first waiting message is not due yet, the puller requests nothing, and only one batch once it is due: messages
// in hand when the process dies are redelivered only after AckWait.
//
// An open request is never canceled. The server confirms its end, after the last message or pullExpiry, and sends that
// confirmation after all messages of the request. To cancel it instead would lose the messages on their way until
// AckWait has passed. The Consume method of the client library can only be stopped that way, so the puller does not use
// it.
type puller struct {
	cons   jetstream.Consumer
	batch  int
	window int
	bytes  int
	wake   chan struct{}      // capacity one: messages may be waiting
	cancel context.CancelFunc // abandons the open request
	done   chan struct{}      // closed when no more messages will arrive
	err    error              // valid after done: why the server stopped delivering; nil after stop

	mu       sync.Mutex
	room     sync.Cond // signaled when messages were taken, notDue changed, or the puller was stopped
	msgs     []received
	notDue   bool // the first waiting message is not due
	caughtUp bool // notDue was set since the last request: everything due was taken
	stopped  bool // make no more requests
}

// received is a message and the time at which it arrived.
type received struct {
	jetstream.Msg
	at time.Time
}

// startPuller starts a puller with the messages that an earlier one left. payload is the largest message that the
// server accepts, in bytes. The caller must close the puller.
func startPuller(cons jetstream.Consumer, left []received, batch, window int, payload int64) *puller {
	ctx, cancel := context.WithCancel(context.Background())
	p := &puller{
		cons: cons, msgs: left, batch: batch, window: window, bytes: max(pullBytes, 2*int(payload)),
		wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
	}
	p.room.L = &p.mu
	p.signal()
	go func() {
		defer close(p.done)
		p.err = p.run(ctx)
	}()
	return p
}

// run makes requests until the puller is stopped, or until the server returns an error or does not answer.
func (p *puller) run(ctx context.Context) error {
	silent := false
	for n := p.waitForRoom(); n > 0; n = p.waitForRoom() {
		answered, err := p.pull(ctx, n)
		switch {
		case err != nil:
			return fmt.Errorf("fetch messages: %w", err)
		case !answered && silent:
			return errSilent
		}
		silent = !answered
	}
	return nil
}

// pull makes one request for up to n messages and queues what arrives. It reports whether the server answered. When ctx
// ends, it abandons the request; Fetch then ends by itself within pullSilence.
func (p *puller) pull(ctx context.Context, n int) (answered bool, err error) {
	heard := time.Now()
	got, err := p.cons.Fetch(n, jetstream.FetchMaxWait(pullExpiry), jetstream.FetchMaxBytes(p.bytes))
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
			p.mu.Lock()
			p.msgs = append(p.msgs, received{msg, heard})
			p.mu.Unlock()
			p.signal()
		}
	}
}

// waitForRoom waits until less than half a window is waiting. It returns how many messages to request next, and 0 when
// the puller is stopped.
func (p *puller) waitForRoom() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.stopped && (p.notDue || len(p.msgs) >= max(p.batch, p.window/2)) {
		p.room.Wait()
	}
	n = p.window
	if p.caughtUp {
		n = p.batch
	}
	if p.stopped {
		n = 0
	}
	p.caughtUp = false
	return n
}

func (p *puller) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take moves up to a batch of waiting messages into the buffer without waiting for any. It stops at the first message
// that is not due, and returns how long that message must still wait; 0 if there is none.
func (p *puller) take(buffer []jetstream.Msg, untilDue func(received) time.Duration) ([]jetstream.Msg, time.Duration) {
	var due time.Duration
	buffer = buffer[:0]
	p.mu.Lock()
	for _, m := range p.msgs[:min(p.batch, len(p.msgs))] {
		if due = untilDue(m); due > 0 {
			break
		}
		buffer = append(buffer, m.Msg)
	}
	rest := copy(p.msgs, p.msgs[len(buffer):])
	clear(p.msgs[rest:])
	p.msgs = p.msgs[:rest]
	p.notDue = due > 0
	p.caughtUp = p.caughtUp || p.notDue
	p.mu.Unlock()
	p.room.Signal()
	if rest > 0 && due <= 0 {
		p.signal()
	}
	return buffer, max(due, 0)
}

// remaining returns the messages that were received but not taken, and forgets them.
func (p *puller) remaining() []received {
	p.mu.Lock()
	defer p.mu.Unlock()
	msgs := p.msgs
	p.msgs = nil
	return msgs
}

// stop makes no more requests. The messages of the open request can be taken until done is closed, and afterwards.
func (p *puller) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.room.Signal()
}

// close stops the puller without waiting for the open request.
func (p *puller) close() {
	p.stop()
	p.cancel()
	<-p.done
}

// extend restarts the AckWait of the waiting messages.
func (p *puller) extend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.msgs {
		_ = m.InProgress() // if it is lost, the server redelivers the message
	}
}
