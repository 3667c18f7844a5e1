package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// An Evictor removes from one in-process cache what the events of a stream made stale. Create one with New. Stats and
// Healthy are safe for concurrent use at any time; only one goroutine at a time may call Run.
type Evictor struct {
	js   jetstream.JetStream
	cfg  Config
	log  *slog.Logger
	base time.Time // origin of the times of the evictor, on the monotonic clock

	upToDate atomic.Int64 // when the evictor last had everything that the stream had, ns since base; 0: never in this Run
	stats    stats
}

// New returns an evictor, or an error if js is nil or a field of cfg is missing or out of range. It does not contact the
// server. The caller keeps ownership of the client and closes its connection after Run has returned.
func New(js jetstream.JetStream, cfg Config) (*Evictor, error) {
	if js == nil {
		return nil, errors.New("new evictor: want a JetStream client, got nil")
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new evictor: %w", err)
	}
	cfg.setDefaults()
	return &Evictor{js: js, cfg: cfg, log: cfg.Logger.With("stream", cfg.Stream), base: time.Now()}, nil
}

// Run evicts until ctx ends, and then returns nil. It waits through every outage of NATS, and for a stream that does not
// exist yet. It returns an error only if it cannot continue: the server rejects the first consumer, or the connection was
// closed.
//
// After Run has returned nothing evicts from the cache: Healthy returns false, and pending second evictions are dropped. Run
// may be called again, and then begins with a flush.
func (e *Evictor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	notices := make(chan notice, noticeBuffer)
	fw := &follower{js: e.js, cfg: &e.cfg, log: e.log, notices: notices}
	ended := make(chan struct{})
	var err error // read after ended is closed
	go func() {
		defer close(ended)
		err = fw.run(ctx)
	}()
	newEvictionLoop(e).run(ctx, notices, ended)
	cancel()
	<-ended
	e.upToDate.Store(0)
	if err != nil {
		return fmt.Errorf("run evictor: %w", err)
	}
	return nil
}

// Healthy reports whether the cache may be used: whether everything that was in the stream at some moment of the last
// Config.MaxUnconfirmed has been evicted. It returns false before Run has a consumer, after Run has returned, and when the
// server has not responded or the evictor has lagged for MaxUnconfirmed. An application that cannot accept the staleness
// that the package documentation describes should bypass its cache while Healthy returns false. A call costs one atomic
// read, so an application can make it before each read of its cache.
func (e *Evictor) Healthy() bool {
	at := e.upToDate.Load()
	return at != 0 && time.Since(e.base)-time.Duration(at) < e.cfg.MaxUnconfirmed
}

// Stats returns the counts since New. It is safe for concurrent use.
func (e *Evictor) Stats() Stats { return e.stats.snapshot() }
