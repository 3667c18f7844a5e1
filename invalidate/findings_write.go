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
)

const (
	findingsEvery   = 5 * time.Second // between two writes, if there is anything new
	findingsTimeout = 2 * time.Second // of one write
)

// A bulletin writes what the audits of this process find into the bucket, so that it can be read without reaching the
// process. It is a favour: without the bucket the audits go on. It belongs to the goroutine in run, and to the one that
// waits for it.
type bulletin struct {
	js       jetstream.JetStream
	cfg      *Config
	log      *slog.Logger
	instance string
	started  time.Time

	kv      jetstream.KeyValue // nil: not known to be there
	written map[string]Tally   // by consumer
	quiet   time.Time          // no attempt before
	retry   *backoff.ExponentialBackOff
	told    bool
}

func newBulletin(js jetstream.JetStream, cfg *Config, log *slog.Logger) bulletin {
	return bulletin{
		js: js, cfg: cfg, log: log, instance: uuid.NewString(), started: time.Now(), written: make(map[string]Tally),
		retry: newBackoff(deadPause),
	}
}

// run writes until ctx ends.
func (b *bulletin) run(ctx context.Context, records []*record) {
	for wait(ctx, findingsEvery) == nil {
		b.write(ctx, records)
	}
}

// write writes what is new. If the bucket cannot be had it says so once, and tries again later.
func (b *bulletin) write(ctx context.Context, records []*record) {
	if ctx.Err() != nil || time.Now().Before(b.quiet) {
		return
	}
	for _, r := range records {
		f := r.findings()
		if f.Tally == b.written[f.Consumer] {
			continue
		}
		err := b.put(ctx, f)
		if err == nil {
			b.written[f.Consumer] = f.Tally
			b.quiet = time.Time{}
			b.retry.Reset()
			continue
		}
		b.kv = nil
		clear(b.written) // if the bucket was deleted, all has to be written again
		b.quiet = time.Now().Add(b.retry.NextBackOff())
		if !b.told && ctx.Err() == nil {
			b.told = true
			b.log.Warn("what the audits find cannot be stored for others to read, they go on", "err", err)
		}
		return
	}
}

func (b *bulletin) put(ctx context.Context, f Findings) error {
	ctx, cancel := context.WithTimeout(ctx, findingsTimeout)
	defer cancel()
	if err := b.ensure(ctx); err != nil {
		return err
	}
	f.Updated = time.Now()
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	if _, err := b.kv.Put(ctx, plainName(f.Consumer)+"."+f.Instance, text); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	return nil
}

// ensure makes the bucket if it is missing, and leaves one that is there as it is. It makes the bucket's stream itself,
// as NATS ADR-8 has it: CreateKeyValue would want the right to ask for the account as well.
func (b *bulletin) ensure(ctx context.Context) error {
	if b.kv != nil {
		return nil
	}
	bucket := FindingsBucket(b.cfg.Stream)
	kv, err := b.js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = b.js.CreateStream(ctx, jetstream.StreamConfig{
			Name:              "KV_" + bucket,
			Description:       "What audits of caches found of the events of " + b.cfg.Stream,
			Subjects:          []string{"$KV." + bucket + ".>"},
			MaxMsgsPerSubject: 1,
			MaxAge:            FindingsAge,
			Storage:           jetstream.FileStorage,
			Replicas:          b.cfg.Replicas,
			Discard:           jetstream.DiscardNew,
			Duplicates:        2 * time.Minute,
			AllowRollup:       true,
			DenyDelete:        true,
			AllowDirect:       true,
		})
		if err == nil {
			kv, err = b.js.KeyValue(ctx, bucket)
		}
	}
	if err != nil {
		return fmt.Errorf("ensure bucket %s: %w", bucket, err)
	}
	b.kv = kv
	return nil
}

// last writes what is new before the process stops, or goes on with other rules, until ctx ends.
func (b *bulletin) last(ctx context.Context, records []*record) {
	b.quiet = time.Time{}
	b.write(ctx, records)
}
