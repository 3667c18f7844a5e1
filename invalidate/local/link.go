package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	requestTimeout = 5 * time.Second // for one request to the JetStream API
	byeTimeout     = time.Second     // to delete one; the server does it by itself a little later
	longestPause   = 2 * time.Second // between two tries
)

// A link keeps one consumer open and tells the keeper what comes of it. What it has to know to go on without a gap when
// the consumer is lost is its position. Everything in it belongs to the goroutine in run.
type link struct {
	js    jetstream.JetStream
	cfg   *Config
	log   *slog.Logger
	words chan<- word
	at    position
	known bool // the server has accepted a consumer before
}

// A position is how far a stream was followed.
type position struct {
	created time.Time // of the stream, which tells it from another of its name
	last    uint64    // sequence of the stream up to which all events were told
}

// run follows the stream until ctx ends. An error means that it cannot go on.
func (l *link) run(ctx context.Context) error {
	retry := newBackoff()
	for ctx.Err() == nil {
		f, err := l.ensure(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		worked, err := f.receive(ctx)
		f.close()
		if ctx.Err() != nil {
			break
		}
		if worked {
			retry.Reset()
		}
		l.log.Warn("lost the consumer, making another", "err", err)
		_ = wait(ctx, retry.NextBackOff()) // the loop looks at ctx itself
	}
	return nil
}

// ensure makes a consumer. It waits for the stream and for the server as long as ctx allows, and says once what it
// waits for. An error other than that of ctx means that the server refuses the consumer, or that the connection was
// closed for good.
func (l *link) ensure(ctx context.Context) (*feed, error) {
	retry := newBackoff()
	said := false
	for {
		f, err := l.open(ctx)
		switch {
		case err == nil:
			return f, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed), !l.known && refused(err):
			return nil, err
		case !said:
			l.log.Warn("consumer cannot be had yet, trying on", "err", err)
			said = true
		}
		if err := wait(ctx, retry.NextBackOff()); err != nil {
			return nil, err
		}
	}
}

// open makes a consumer that goes on behind the position. If that cannot be, it makes one for what is new and tells of
// a gap; the first one is always so. The stream is looked at before and after, because a consumer may also be made in
// another stream of the same name, or before the first or behind the last message of this one.
func (l *link) open(ctx context.Context) (*feed, error) {
	if conn := l.js.Conn(); conn.IsReconnecting() {
		return nil, nats.ErrDisconnected // a request would be sent later, and leave a consumer behind
	}
	run := ctx
	ctx, cancel := whileConnected(ctx, l.js.Conn())
	defer cancel()
	before, err := l.state(ctx)
	if err != nil {
		return nil, err
	}
	first := !l.known
	why := ""
	switch {
	case first:
	case !before.Created.Equal(l.at.created):
		why = "the stream was deleted and made again"
	case before.State.LastSeq < l.at.last:
		why = fmt.Sprintf("the stream ends at %d, and had %d before", before.State.LastSeq, l.at.last)
	}
	f, info, err := l.consumer(ctx, first || why != "")
	if err != nil {
		return nil, err
	}
	if !first && why == "" && info.NumPending > uint64(l.cfg.MaxPending) {
		why = fmt.Sprintf("%d events came meanwhile, too many to catch up with", info.NumPending)
		f.close()
		if f, info, err = l.consumer(ctx, true); err != nil {
			return nil, err
		}
	}
	after, err := l.state(ctx)
	if err == nil && !after.Created.Equal(before.Created) {
		err = errors.New("the stream was just made again")
	}
	if err != nil {
		f.close()
		return nil, err
	}
	if start := info.Delivered.Stream; !first && why == "" && start != l.at.last {
		why = fmt.Sprintf("the stream begins at %d now, behind %d", start+1, l.at.last+1)
	}
	l.at = position{created: before.Created, last: info.Delivered.Stream}
	l.known = true
	f.looking, f.looked = l.at.last, l.at.last
	w := word{kind: opened, why: why, current: info.NumPending == 0}
	if first {
		w.kind = fresh
	}
	if err := tell(run, l.words, w); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// whileConnected returns a context that ends with ctx, or when the connection is lost: no answer comes then. The caller
// must call cancel.
func whileConnected(ctx context.Context, conn *nats.Conn) (connected context.Context, cancel func()) {
	lost := conn.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	connected, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-lost:
			end()
		case <-connected.Done():
		}
	}()
	return connected, func() {
		end()
		<-done
		conn.RemoveStatusListener(lost)
	}
}

// state asks for the stream.
func (l *link) state(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, l.cfg.Stream)
	if err != nil {
		return nil, fmt.Errorf("look up stream: %w", err)
	}
	return stream.CachedInfo(), nil
}

// consumer makes one for what is new, or one that goes on, and what receives from it.
func (l *link) consumer(ctx context.Context, anew bool) (*feed, *jetstream.ConsumerInfo, error) {
	config := jetstream.ConsumerConfig{
		Description:       "evicts from a cache inside a process",
		DeliverPolicy:     jetstream.DeliverNewPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		FilterSubjects:    l.cfg.Rules.Subjects(),
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: max(4*l.cfg.MaxSilent, 10*time.Second),
	}
	if !anew {
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, l.at.last+1
	}
	f, err := listen(l)
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	cons, err := l.js.CreateConsumer(ctx, l.cfg.Stream, config)
	if err != nil {
		f.close()
		return nil, nil, fmt.Errorf("make consumer: %w", err)
	}
	info := cons.CachedInfo()
	f.consumer = info.Name
	return f, info, nil
}

// refused says whether an error of the API stays the same however often one asks.
func refused(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code >= 400 && api.Code < 500 && api.Code != 404 && api.Code != 408
}

// tell gives the keeper a word, or fails when ctx ends before.
func tell(ctx context.Context, words chan<- word, w word) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case words <- w:
		return nil
	}
}

// newBackoff paces a loop that never gives up, from 100 ms on.
func newBackoff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(longestPause),
		backoff.WithMaxElapsedTime(0))
}

// wait returns after d, or with the error of ctx when that ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
