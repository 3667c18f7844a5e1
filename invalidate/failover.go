package invalidate

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	identityInterval = time.Second    // between two readings of the identity of Redis
	identityKey      = "outbox-redis" // in the metadata of the consumer that deletes at once: the identity when it was declared
)

// A failover watches the identity of Redis and starts a redelivery when it changes.
//
// Redis replicates asynchronously. When a replica is promoted that did not receive the last deletions, or when older
// data is loaded, deleted keys exist again and no client is notified. But then the server that answers is another
// process (run_id), or its data has another history (master_replid). So when one of them changes, the events of a
// window before the change are processed again (see redelivery.go).
//
// While an invalidator runs, failover reads the identity every second. The consumer that deletes at once also stores it
// in its metadata when it is declared. If Redis has another identity at the next start, the events of a window before
// the last acknowledgement are processed again.
//
// A master without replicas changes its master_replid after an hour. The redelivery is unnecessary then, and harmless.
type failover struct {
	v      *Invalidator
	window time.Duration

	checkpoints []checkpoint // belongs to the goroutine in run; oldest first, the first one at least a window old if possible
	warned      bool         // belongs to the goroutine in run; logged that Redis does not reveal its identity

	mu          sync.Mutex
	ready       bool   // metadata has run: the identity to compare with is known
	resumed     bool   // since metadata ran, run has looked for an unfinished redelivery
	known       string // the identity of the Redis that received all deletions so far; "": not read yet
	times       int64
	redelivered int64
}

// A checkpoint means that at a time all consumers had processed every event up to a sequence.
type checkpoint struct {
	at    time.Time
	floor uint64
}

// counts returns how often the identity changed and how many events were redelivered.
func (f *failover) counts() (times, events int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.times, f.redelivered
}

// run checks the identity until ctx ends. It first finishes a redelivery that another process has left unfinished.
func (f *failover) run(ctx, graceful context.Context) {
	for ctx.Err() == nil {
		err := f.check(ctx, graceful)
		if redis.HasErrorPrefix(err, "NOPERM") && !f.warned { // the consumers log every outage
			f.v.log.Warn("cannot detect a fail-over of Redis; grant the Redis user +info, or disable the redelivery window", "err", err)
			f.warned = true
		}
		_ = wait.For(ctx, identityInterval)
	}
}

// check compares the identity of Redis with the known one, and redelivers events if it has changed.
func (f *failover) check(ctx, graceful context.Context) error {
	if !f.isReady() {
		return nil
	}
	began := time.Now()
	floor, err := f.ackFloor(ctx)
	if err != nil {
		return err
	}
	unfinished, err := f.findUnfinished(ctx)
	if err != nil {
		return err
	}
	if unfinished {
		if err = f.redeliver(ctx, graceful); err != nil {
			f.setResumed(false)
		}
		return err
	}
	is, err := identity(ctx, f.v.rdb)
	if err != nil {
		return err
	}
	was := f.knownOr(is)
	if was == is {
		f.addCheckpoint(checkpoint{began, floor})
		return nil
	}
	f.v.log.Warn("Redis changed identity; repeating recent deletions", "was", was, "is", is)
	for _, start := range f.startPositions() {
		if err := f.startRedelivery(ctx, start); err != nil {
			return err
		}
		if err := f.redeliver(ctx, graceful); err != nil {
			return err
		}
	}
	f.mu.Lock()
	f.known = is
	f.times++
	f.mu.Unlock()
	return nil
}

func (f *failover) isReady() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ready
}

// setResumed records whether an unfinished redelivery has been looked for. It returns the previous value.
func (f *failover) setResumed(resumed bool) (was bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, f.resumed = f.resumed, resumed
	return was
}

// knownOr returns the known identity. If there is none, is becomes the known identity.
func (f *failover) knownOr(is string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == "" {
		f.known = is
	}
	return f.known
}

// ackFloor returns the sequence up to which every consumer has processed all events.
func (f *failover) ackFloor(ctx context.Context) (floor uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	floor = ^uint64(0)
	for _, c := range f.v.consumers {
		cons, err := f.v.js.Consumer(ctx, f.v.cfg.Stream, c.durable)
		if err != nil {
			return 0, fmt.Errorf("read consumer: %w", err)
		}
		floor = min(floor, cons.CachedInfo().AckFloor.Stream)
	}
	return floor, nil
}

// addCheckpoint appends a checkpoint, and removes those older than a window except the latest of them.
func (f *failover) addCheckpoint(c checkpoint) {
	f.checkpoints = append(f.checkpoints, c)
	for len(f.checkpoints) > 1 && f.checkpoints[1].at.Before(c.at.Add(-f.window)) {
		f.checkpoints = f.checkpoints[1:]
	}
}

// metadata returns the metadata of the consumer that deletes at once, with the identity of Redis. The consumer calls it
// when it is declared. If the stored identity differs, metadata starts a redelivery before it returns the new identity.
func (f *failover) metadata(ctx context.Context, info *jetstream.ConsumerInfo) (map[string]string, error) {
	metadata := make(map[string]string)
	var last *time.Time
	if info != nil {
		maps.Copy(metadata, info.Config.Metadata)
		last = info.AckFloor.Last
	}
	was := metadata[identityKey]
	is, err := identity(ctx, f.v.rdb)
	if err != nil {
		is = was // check compares it as soon as Redis answers
	}
	if was != "" && is != was && last != nil {
		f.v.log.Warn("Redis changed identity while no invalidator ran; repeating recent deletions", "was", was, "is", is)
		start := startPosition{at: last.Add(-f.window - f.v.consumers[0].slowest)}
		if err := f.startRedelivery(ctx, start); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	f.known, f.ready, f.resumed = is, true, false
	f.mu.Unlock()
	if is != "" {
		metadata[identityKey] = is
	}
	return metadata, nil
}
