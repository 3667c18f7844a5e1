package invalidate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/consume"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	findingsInterval = 5 * time.Second // between two writes, if there are new findings
	findingsTimeout  = 2 * time.Second // for one write
	findingsPause    = time.Minute     // longest pause after failed writes
)

// A findingsPublisher writes the findings of this process into the bucket, so that `outbox staleness` can read them
// without a connection to the process. The staleness checks do not depend on it: without the bucket they continue. It
// belongs to the goroutine in run, and after run has returned to the one that calls flush.
type findingsPublisher struct {
	js       jetstream.JetStream
	cfg      *Config
	log      *slog.Logger
	instance string
	started  time.Time

	kv        jetstream.KeyValue // nil: not known to exist
	written   map[string]Tally   // by consumer
	notBefore time.Time          // no attempt before
	retry     *backoff.ExponentialBackOff
	warned    bool
}

func newFindingsPublisher(js jetstream.JetStream, cfg *Config, log *slog.Logger) findingsPublisher {
	return findingsPublisher{
		js: js, cfg: cfg, log: log, instance: uuid.NewString(), started: time.Now(), written: make(map[string]Tally),
		retry: consume.NewBackoff(findingsPause),
	}
}

// run writes new findings until ctx ends.
func (p *findingsPublisher) run(ctx context.Context, records []*stalenessRecord) {
	for wait.For(ctx, findingsInterval) == nil {
		p.write(ctx, records)
	}
}

// write writes the findings that are new. After an error it logs once, and writes nothing until a pause is over.
func (p *findingsPublisher) write(ctx context.Context, records []*stalenessRecord) {
	if ctx.Err() != nil || time.Now().Before(p.notBefore) {
		return
	}
	for _, r := range records {
		f := r.findings()
		if f.Tally == p.written[f.Consumer] {
			continue
		}
		err := p.put(ctx, f)
		if err == nil {
			p.written[f.Consumer] = f.Tally
			p.notBefore = time.Time{}
			p.retry.Reset()
			continue
		}
		p.kv = nil
		clear(p.written) // if the bucket was deleted, all findings must be written again
		p.notBefore = time.Now().Add(p.retry.NextBackOff())
		if !p.warned && ctx.Err() == nil {
			p.warned = true
			p.log.Warn("cannot store the findings of the staleness checks, retrying; the checks continue", "err", err)
		}
		return
	}
}

func (p *findingsPublisher) put(ctx context.Context, f Findings) error {
	ctx, cancel := context.WithTimeout(ctx, findingsTimeout)
	defer cancel()
	if err := p.ensure(ctx); err != nil {
		return err
	}
	f.Updated = time.Now()
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	if _, err := p.kv.Put(ctx, plainName(f.Consumer)+"."+f.Instance, text); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	return nil
}

// ensure creates the bucket if it is missing. It does not change an existing one. It creates the stream of the bucket
// itself, as NATS ADR-8 defines it, because CreateKeyValue also needs the permission to read the account.
func (p *findingsPublisher) ensure(ctx context.Context) error {
	if p.kv != nil {
		return nil
	}
	bucket := FindingsBucket(p.cfg.Stream)
	kv, err := p.js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = p.js.CreateStream(ctx, jetstream.StreamConfig{
			Name:              "KV_" + bucket,
			Description:       "Findings of staleness checks for events of " + p.cfg.Stream,
			Subjects:          []string{"$KV." + bucket + ".>"},
			MaxMsgsPerSubject: 1,
			MaxAge:            FindingsAge,
			Storage:           jetstream.FileStorage,
			Replicas:          p.cfg.Replicas,
			Discard:           jetstream.DiscardNew,
			Duplicates:        2 * time.Minute,
			AllowRollup:       true,
			DenyDelete:        true,
			AllowDirect:       true,
		})
		if err == nil {
			kv, err = p.js.KeyValue(ctx, bucket)
		}
	}
	if err != nil {
		return fmt.Errorf("ensure bucket %s: %w", bucket, err)
	}
	p.kv = kv
	return nil
}

// flush writes new findings at once, before the process stops or uses other rules.
func (p *findingsPublisher) flush(ctx context.Context, records []*stalenessRecord) {
	p.notBefore = time.Time{}
	p.write(ctx, records)
}
