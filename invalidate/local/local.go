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

// An Evictor keeps one in-process cache free of what the events of a stream made stale. Make one with New; Stats and
// Healthy may be called at any time, Run by one goroutine at a time.
type Evictor struct {
	js   jetstream.JetStream
	cfg  Config
	log  *slog.Logger
	base time.Time // what the evictor counts from, on the monotonic clock

	upToDate atomic.Int64 // when all that was stored had last been evicted, nanoseconds since base; 0: never in this Run
	stats    stats
}

// New checks the configuration and returns an evictor that has not touched any server yet. The client stays the
// caller's, who closes its connection after Run has returned.
func New(js jetstream.JetStream, cfg Config) (*Evictor, error) {
	if js == nil {
		return nil, errors.New("new evictor: a JetStream client is required")
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new evictor: %w", err)
	}
	cfg.setDefaults()
	return &Evictor{js: js, cfg: cfg, log: cfg.Logger.With("stream", cfg.Stream), base: time.Now()}, nil
}

// Run evicts until ctx ends and returns nil then. It waits out every outage of NATS, a stream that does not exist
// too; it returns an error only if it cannot go on: the server refuses the consumer at the start, or the connection
// was closed for good. After it has returned nobody keeps the cache any more: Healthy says false, and second evictions
// that were due later do not come. It may be run again, and begins with a flush then.
func (e *Evictor) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	words := make(chan word, wordsAhead)
	l := &link{js: e.js, cfg: &e.cfg, log: e.log, words: words}
	ended := make(chan struct{})
	var err error // read after ended
	go func() {
		defer close(ended)
		err = l.run(ctx)
	}()
	newKeeper(e).run(ctx, words, ended)
	cancel()
	<-ended
	e.upToDate.Store(0)
	if err != nil {
		return fmt.Errorf("run evictor: %w", err)
	}
	return nil
}

// Healthy says whether the cache may be trusted: everything that was in the stream at some moment of the last
// Config.MaxSilent has been evicted. It is false before Run has its consumer, after Run has returned, when the server
// was not heard for so long, and when the evictor has been behind for so long. An application that cannot bear the
// staleness the package documentation speaks of goes past its cache while this is false. It is cheap enough to be
// asked before each read.
func (e *Evictor) Healthy() bool {
	at := e.upToDate.Load()
	return at != 0 && time.Since(e.base)-time.Duration(at) < e.cfg.MaxSilent
}

// Stats returns what was done since New. It is safe for concurrent use.
func (e *Evictor) Stats() Stats { return e.stats.snapshot() }
