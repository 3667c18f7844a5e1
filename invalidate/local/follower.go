package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/consume"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	requestTimeout = 5 * time.Second // for one request to the JetStream API
	deleteTimeout  = time.Second     // for the deletion of a consumer, which the server also deletes by itself
	longestPause   = 2 * time.Second // between two attempts
)

// A follower keeps one consumer open and reports to the eviction loop what arrives. Its progress lets it continue without a
// gap after the consumer is lost. All fields belong to the goroutine of run.
type follower struct {
	js      jetstream.JetStream
	cfg     *Config
	log     *slog.Logger
	notices chan<- notice
	at      progress
	known   bool // the server has accepted a consumer before
}

// progress is how far a stream was followed.
type progress struct {
	created time.Time // when the stream was created, which distinguishes it from another stream of the same name
	last    uint64    // stream sequence up to which all events were reported
}

// run follows the stream until ctx ends. It returns an error if it cannot continue.
func (fw *follower) run(ctx context.Context) error {
	pauses := consume.NewBackoff(longestPause)
	for ctx.Err() == nil {
		f, err := fw.ensure(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return err
		}
		received, err := f.receive(ctx)
		f.close()
		if ctx.Err() != nil {
			break
		}
		if received {
			pauses.Reset()
		}
		fw.log.Warn("consumer lost, creating another", "err", err)
		_ = wait.For(ctx, pauses.NextBackOff()) // the loop checks ctx itself
	}
	return nil
}

// ensure creates a consumer. It waits for the stream and for the server until ctx ends, and logs once what it waits for. An
// error other than that of ctx means that the server rejects the consumer, or that the connection was closed.
func (fw *follower) ensure(ctx context.Context) (*feed, error) {
	pauses := consume.NewBackoff(longestPause)
	logged := false
	for {
		f, err := fw.open(ctx)
		switch {
		case err == nil:
			return f, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed), !fw.known && consume.Refused(err):
			return nil, err
		case !logged:
			fw.log.Warn("consumer not available, retrying", "err", err)
			logged = true
		}
		if err := wait.For(ctx, pauses.NextBackOff()); err != nil {
			return nil, err
		}
	}
}

// open creates a consumer that continues after the progress. If that is impossible, it creates one for new messages and
// reports a gap; the first consumer is always for new messages. open reads the state of the stream before and after,
// because the server also creates a consumer in another stream of the same name, before the first message of the stream or
// after the last.
func (fw *follower) open(ctx context.Context) (*feed, error) {
	if conn := fw.js.Conn(); conn.IsReconnecting() {
		return nil, nats.ErrDisconnected // the client would send the request later and leave a consumer on the server
	}
	run := ctx
	ctx, cancel := whileConnected(ctx, fw.js.Conn())
	defer cancel()
	before, err := fw.state(ctx)
	if err != nil {
		return nil, err
	}
	first := !fw.known
	why := ""
	switch {
	case first:
	case !before.Created.Equal(fw.at.created):
		why = "the stream was deleted and created again"
	case before.State.LastSeq < fw.at.last:
		why = fmt.Sprintf("the stream ends at sequence %d, was followed to %d", before.State.LastSeq, fw.at.last)
	}
	f, info, err := fw.consumer(ctx, first || why != "")
	if err != nil {
		return nil, err
	}
	if !first && why == "" && info.NumPending > uint64(fw.cfg.MaxPending) {
		why = fmt.Sprintf("%d events arrived in the meantime, more than MaxPending", info.NumPending)
		f.close()
		if f, info, err = fw.consumer(ctx, true); err != nil {
			return nil, err
		}
	}
	after, err := fw.state(ctx)
	if err == nil && !after.Created.Equal(before.Created) {
		err = errors.New("the stream was created again a moment ago")
	}
	if err != nil {
		f.close()
		return nil, err
	}
	if start := info.Delivered.Stream; !first && why == "" && start != fw.at.last {
		why = fmt.Sprintf("the stream begins at sequence %d, was followed to %d", start+1, fw.at.last)
	}
	fw.at = progress{created: before.Created, last: info.Delivered.Stream}
	fw.known = true
	f.checking, f.checked = fw.at.last, fw.at.last
	n := notice{kind: reopened, why: why, upToDate: info.NumPending == 0}
	if first {
		n.kind = opened
	}
	if err := send(run, fw.notices, n); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// whileConnected returns a context that ends with ctx or when the connection is lost, because no reply can arrive then. The
// caller must call cancel, which waits for the goroutine that watches the connection.
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

// state reads the state of the stream.
func (fw *follower) state(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := fw.js.Stream(ctx, fw.cfg.Stream)
	if err != nil {
		return nil, fmt.Errorf("read state of the stream: %w", err)
	}
	return stream.CachedInfo(), nil
}

// consumer creates a consumer for new messages, or one that continues after the progress, and the feed that receives from
// it.
func (fw *follower) consumer(ctx context.Context, anew bool) (*feed, *jetstream.ConsumerInfo, error) {
	config := jetstream.ConsumerConfig{
		Description:       "evicts from a cache inside a process",
		DeliverPolicy:     jetstream.DeliverNewPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		FilterSubjects:    fw.cfg.Rules.Subjects(),
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: max(4*fw.cfg.MaxUnconfirmed, 10*time.Second),
	}
	if !anew {
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, fw.at.last+1
	}
	f, err := listen(fw)
	if err != nil {
		return nil, nil, fmt.Errorf("subscribe: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	cons, err := fw.js.CreateConsumer(ctx, fw.cfg.Stream, config)
	if err != nil {
		f.close()
		return nil, nil, fmt.Errorf("create consumer: %w", err)
	}
	info := cons.CachedInfo()
	f.consumer = info.Name
	return f, info, nil
}

// send passes a notice to the eviction loop, or returns the error of ctx if that ends before.
func send(ctx context.Context, notices chan<- notice, n notice) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case notices <- n:
		return nil
	}
}
