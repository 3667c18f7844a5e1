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

// Invalidator deletes from Redis what the events of a stream make stale. Make one with New; Stats and Reload may be
// called at any time, Run and Step by one goroutine at a time.
type Invalidator struct {
	js     jetstream.JetStream
	rdb    redis.UniversalClient
	cfg    Config
	log    *slog.Logger
	clock  clock
	reload chan *rules.Set
	past   *history // nil without audits

	lanes    []*lane // belong to the goroutine in Run or Step, as do the next; the first deletes at once
	audits   []*auditor
	failover failover
	bulletin bulletin
	next     *rules.Set // with errReloaded

	mu      sync.Mutex
	stats   []*stats  // of all lanes there ever were, in order of their delays
	records []*record // of all audits there ever were, in order of their scales
}

// New checks the configuration and returns an invalidator that has not touched any server yet. The clients
// stay the caller's, who closes them after Run has returned.
func New(js jetstream.JetStream, rdb redis.UniversalClient, cfg Config) (*Invalidator, error) {
	if js == nil || rdb == nil {
		return nil, errors.New("new invalidator: JetStream and Redis clients are required")
	}
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("new invalidator: %w", err)
	}
	v := &Invalidator{js: js, rdb: rdb, cfg: cfg, log: cfg.Logger.With("stream", cfg.Stream), reload: make(chan *rules.Set)}
	v.clock = clock{js: js, stream: cfg.Stream}
	v.failover = failover{v: v, window: cfg.ReplayWindow}
	v.bulletin = newBulletin(js, &v.cfg, v.log)
	if len(cfg.Audit) > 0 {
		v.past = newHistory()
	}
	v.adopt(cfg.Rules)
	return v, nil
}

// Stats returns what was done since New. It is safe for concurrent use.
func (v *Invalidator) Stats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := Stats{Lane: v.stats[0].snapshot()}
	for _, echo := range v.stats[1:] {
		s.Echoes = append(s.Echoes, echo.snapshot())
	}
	for _, r := range v.records {
		s.Audits = append(s.Audits, r.audit())
	}
	s.FailOvers, s.Replayed = v.failover.count()
	return s
}

// Step takes what is waiting to be deleted at once, at most one batch, works it off as Run does and returns how many
// messages it took. It does not wait for messages, only for servers, as long as ctx allows. It is what tests call; Run
// receives faster.
func (v *Invalidator) Step(ctx context.Context) (int, error) {
	n, err := v.lanes[0].step(ctx)
	if err != nil {
		return 0, fmt.Errorf("step: %w", err)
	}
	return n, nil
}
