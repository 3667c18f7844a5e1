package invalidate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// Invalidator deletes from Redis the keys that the events of a stream make stale. Create it with New. Stats and Reload
// are safe for concurrent use; only one goroutine at a time may call Run or Step.
type Invalidator struct {
	js      jetstream.JetStream
	rdb     redis.UniversalClient
	cfg     Config
	log     *slog.Logger
	clock   clock
	reload  chan *rules.Set
	history *keyHistory // nil without staleness checks

	// These belong to the goroutine in Run or Step.
	consumers []*consumer // the first one deletes at once, the others echo
	checks    []*stalenessCheck
	failover  failover
	publisher findingsPublisher
	next      *rules.Set // the rules to use after errReloaded

	mu       sync.Mutex
	counters []*counters        // of all consumers that ever ran, in the order of their delays
	records  []*stalenessRecord // of all staleness checks that ever ran, in the order of their scales
}

// New checks the configuration and returns an invalidator. It contacts no server. The caller keeps ownership of both
// clients and must close them only after Run has returned.
func New(js jetstream.JetStream, rdb redis.UniversalClient, cfg Config) (*Invalidator, error) {
	if js == nil || rdb == nil {
		return nil, errors.New("new invalidator: missing JetStream or Redis client")
	}
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new invalidator: %w", err)
	}
	v := &Invalidator{js: js, rdb: rdb, cfg: cfg, log: cfg.Logger.With("stream", cfg.Stream), reload: make(chan *rules.Set)}
	v.clock = clock{js: js, stream: cfg.Stream}
	v.failover = failover{v: v, window: cfg.RedeliveryWindow}
	v.publisher = newFindingsPublisher(js, &v.cfg, v.log)
	if len(cfg.Staleness) > 0 {
		v.history = newKeyHistory()
	}
	v.useRules(cfg.Rules)
	return v, nil
}

// Stats returns the counts since New. It is safe for concurrent use.
func (v *Invalidator) Stats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := Stats{ConsumerStats: v.counters[0].snapshot()}
	for _, echo := range v.counters[1:] {
		s.Echoes = append(s.Echoes, echo.snapshot())
	}
	for _, r := range v.records {
		s.Staleness = append(s.Staleness, r.stats())
	}
	s.FailOvers, s.FailOverRedelivered = v.failover.counts()
	return s
}

// Step processes at most one batch of the messages that wait to be deleted at once, in the same way as Run, and returns
// how many messages it received. It does not wait for messages, but waits for servers until ctx ends. Step lets a test
// process one batch; Run has a higher throughput.
func (v *Invalidator) Step(ctx context.Context) (int, error) {
	n, err := v.consumers[0].step(ctx)
	if err != nil {
		return 0, fmt.Errorf("step: %w", err)
	}
	return n, nil
}
