package invalidate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Config says what an Invalidator consumes and how. The zero value of a field means its default.
type Config struct {
	// Stream is the JetStream stream that the relay publishes to. Required.
	Stream string
	// Durable names the consumer. All invalidators of one cache share it, each event goes to one of them;
	// another cache needs another name. Defaults to "invalidate-now".
	Durable string
	// Rules say which keys an event makes stale. Required.
	Rules *rules.Set
	// Batch is how many messages one pipeline of UNLINKs may serve, at most 10,000. A single one is not
	// kept waiting for more. Defaults to 256.
	Batch int
	// AckWait is after how long the server gives an event that was not acknowledged to another
	// invalidator: how long one that was killed delays what it had in hand. At least a second. Defaults
	// to 30 s.
	AckWait time.Duration
	// MaxAckPending is how many events may be in the hands of all invalidators together; the server
	// delivers no more until some are acknowledged. At least four batches. Defaults to 8192, or to four
	// batches if that is more.
	MaxAckPending int
	// DeadStream is the stream that takes poison events. Defaults to Stream + "_DEAD".
	DeadStream string
	// Replicas of the dead-letter stream when it has to be made, 1 to 5. Defaults to 1.
	Replicas int
	// Grace bounds how long Run goes on with what it has in hand when its context ends; at rest it goes on for up
	// to a second. Defaults to 10 s.
	Grace time.Duration
	// Logger hears of pauses, lost servers and poison, never of single events that went well. Defaults to
	// one that discards.
	Logger *slog.Logger
	// Observe, if set, is called once for each batch after its events were acknowledged, by the goroutine
	// that works: it must not block.
	Observe func(Done)
}

// Done is what became of one batch.
type Done struct {
	// Events are those that were resolved and acknowledged, whether a rule matched or not. The slice and
	// what it points to belong to the invalidator: copy what is needed after Observe returns.
	Events []outbox.Event
	// Keys is how many keys Redis was asked to delete, equal ones counted once.
	Keys int
	// Deleted is how many of them existed.
	Deleted int
	// Unlinked is when the last reply of Redis had come: the keys are gone since then.
	Unlinked time.Time
	// Took is the time from the batch in hand to its acks, pauses included.
	Took time.Duration
}

// Invalidator deletes from Redis what the events of a stream make stale. Make one with New; Stats may be
// called at any time, Run and Step by one goroutine at a time.
type Invalidator struct {
	js  jetstream.JetStream
	rdb redis.UniversalClient
	cfg Config
	log *slog.Logger

	resolver *rules.Resolver // belongs to the goroutine in Run or Step, as do the next
	batch    batch
	dead     deadLetters
	known    bool // the server has accepted the consumer before

	stats stats
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
	v := &Invalidator{js: js, rdb: rdb, cfg: cfg}
	v.log = cfg.Logger.With("stream", cfg.Stream, "consumer", cfg.Durable)
	v.resolver = cfg.Rules.NewResolver()
	v.dead = deadLetters{js: js, cfg: &v.cfg, log: v.log}
	return v, nil
}

func (c *Config) setDefaults() {
	def(&c.Durable, "invalidate-now")
	def(&c.Batch, 256)
	def(&c.AckWait, 30*time.Second)
	def(&c.MaxAckPending, max(8192, 4*c.Batch))
	def(&c.DeadStream, c.Stream+"_DEAD")
	def(&c.Replicas, 1)
	def(&c.Grace, 10*time.Second)
	def(&c.Logger, slog.New(slog.DiscardHandler))
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) check() error {
	for _, name := range []struct{ field, value string }{
		{"Stream", c.Stream}, {"Durable", c.Durable}, {"DeadStream", c.DeadStream},
	} {
		if name.value == "" || strings.ContainsAny(name.value, ".*>/\\") || strings.IndexFunc(name.value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) >= 0 {
			return fmt.Errorf("%s %q is not a NATS name: it is required and has no . * > / \\ or white space", name.field, name.value)
		}
	}
	switch {
	case c.Rules == nil:
		return errors.New("no Rules: they are required, see rules.Parse")
	case c.Batch < 1 || c.Batch > 10_000:
		return fmt.Errorf("the Batch is %d, it has to be 1 to 10000", c.Batch)
	case c.AckWait < time.Second:
		return fmt.Errorf("the AckWait is %s, it has to be at least 1s", c.AckWait)
	case c.MaxAckPending < 4*c.Batch:
		return fmt.Errorf("the MaxAckPending is %d, it has to be at least four batches of %d", c.MaxAckPending, c.Batch)
	case c.DeadStream == c.Stream:
		return fmt.Errorf("the DeadStream is %q, the stream itself", c.DeadStream)
	case c.Replicas < 1 || c.Replicas > 5:
		return fmt.Errorf("the value of Replicas is %d, it has to be 1 to 5", c.Replicas)
	case c.Grace < 0:
		return fmt.Errorf("the Grace is %s, it cannot be negative", c.Grace)
	}
	return nil
}

// Stats returns what was done since New. It is safe for concurrent use.
func (v *Invalidator) Stats() Stats { return v.stats.snapshot() }

// Step takes what is waiting, at most one batch, works it off as Run does and returns how many messages it
// took. It does not wait for messages, only for servers, as long as ctx allows. It is what tests call; Run
// receives faster.
func (v *Invalidator) Step(ctx context.Context) (int, error) {
	cons, err := v.ensure(ctx)
	if err != nil {
		return 0, fmt.Errorf("step: %w", err)
	}
	fetched, err := cons.FetchNoWait(v.cfg.Batch)
	if err != nil {
		return 0, fmt.Errorf("step: fetch batch: %w", err)
	}
	var msgs []jetstream.Msg
	for m := range fetched.Messages() {
		msgs = append(msgs, m)
	}
	if err := fetched.Error(); err != nil && len(msgs) == 0 {
		return 0, fmt.Errorf("step: fetch batch: %w", err)
	}
	if err := v.work(ctx, msgs); err != nil {
		return 0, fmt.Errorf("step: %w", err)
	}
	return len(msgs), nil
}
