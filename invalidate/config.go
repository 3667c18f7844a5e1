package invalidate

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Config configures an Invalidator. An optional field that is zero has its default.
type Config struct {
	// Stream is the JetStream stream that the relay publishes to. Required.
	Stream string
	// Durable is the name of the durable consumer that deletes keys at once. All invalidators of one cache must use the
	// same name, because the server then delivers each event to only one of them. Invalidators of another cache need
	// another name. The other consumers derive their names from it: the suffix -now, if present, is replaced by
	// -echo-5s, -staleness-1m or -redelivery. Defaults to "invalidate-now".
	Durable string
	// Rules map an event to the keys that it makes stale. Required.
	Rules *rules.Set
	// Echo lists the delays after which the keys of an event are deleted once more, for rules without delays of their
	// own. A delay counts from the moment at which the stream stored the event. Each must be 1 ms to 1 h, and longer
	// than a reader needs from its database snapshot to its cache write plus the lag of the replica that it reads; see
	// the package documentation. Defaults to 5 s if nil; an empty slice disables echoes.
	Echo []time.Duration
	// EchoGate, if set, holds echoes back until the read replicas have caught up. The delays of Echo then count from
	// that moment.
	EchoGate EchoGate
	// Staleness lists the times after an event, called scales, at which staleness checks compare cached values with the
	// event. They cover the rules that have a ttl or a version. At most eight scales of 1 ms to 1 h, in whole
	// milliseconds. A scale shorter than an echo reports values that the echo has yet to delete. Defaults to 1 min and
	// 5 min if nil; an empty slice disables the checks.
	Staleness []time.Duration
	// StalenessSample is the share of events that the staleness checks read, above 0 and at most 1. A hash of the event
	// ID selects them, so that every scale and every process selects the same events. Defaults to 0.01.
	StalenessSample float64
	// TagRate limits how many members of tags one consumer deletes per second. Negative means no limit. Defaults to
	// 20,000.
	TagRate int
	// RedeliveryWindow is how much of the recent past is processed again when Redis changes its identity: after a
	// fail-over or a restore, keys that were deleted may exist again. Negative disables it. Defaults to 60 s.
	RedeliveryWindow time.Duration
	// Batch is the maximum number of messages that are resolved, deleted and acknowledged together, 1 to 10,000. A
	// single message never waits for others. Defaults to 256.
	Batch int
	// AckWait is the time after which the server redelivers an unacknowledged event. It is therefore how long the death
	// of an invalidator delays the events that it had in hand. At least 1 s. Defaults to 10 s.
	AckWait time.Duration
	// MaxAckPending is the maximum number of unacknowledged events of one consumer, over all invalidators. The server
	// delivers no more until some are acknowledged. At least four batches. Defaults to 8192, or to four batches if that
	// is more.
	MaxAckPending int
	// DeadStream is the stream that takes poison events. Defaults to Stream + "_DEAD".
	DeadStream string
	// Replicas is the number of JetStream replicas, 1 to 5, of the dead-letter stream and of the bucket for findings.
	// It applies only when the invalidator creates them. Defaults to 1.
	Replicas int
	// Grace limits how long Run continues to process the messages in hand after its context has ended. An idle Run
	// needs up to one second. Defaults to 10 s.
	Grace time.Duration
	// Logger receives pauses, lost servers and poison events, and nothing for an event that is processed normally.
	// Defaults to a logger that discards everything.
	Logger *slog.Logger
	// Observe, if set, is called once per batch, after its events were acknowledged; events with tags may still wait
	// for theirs. Each consumer calls it from its own goroutine. It must be safe for concurrent use and must not block.
	Observe func(Done)
}

// Done reports one batch whose keys were deleted.
type Done struct {
	// Consumer is the name of the durable consumer that received the batch.
	Consumer string
	// Delay is the delay of that consumer: 0 for the one that deletes at once.
	Delay time.Duration
	// Events were resolved and their keys deleted, including events that no rule matched. The slice and everything it
	// refers to belong to the invalidator: Observe must copy what it needs after it returns.
	Events []event.Event
	// Keys is the number of distinct keys that were requested to be deleted.
	Keys int
	// Deleted is the number of keys that existed, including the fill tokens beside them.
	Deleted int
	// Unlinked is when the last reply of Redis arrived. All keys were gone by then.
	Unlinked time.Time
	// Took is the time from receiving the batch to sending its acks, including pauses.
	Took time.Duration
}

// maxScales is the maximum number of scales at which staleness checks run.
const maxScales = 8

func (c *Config) setDefaults() {
	c.Durable = cmp.Or(c.Durable, "invalidate-now")
	c.StalenessSample = cmp.Or(c.StalenessSample, 0.01)
	c.TagRate = cmp.Or(c.TagRate, 20_000)
	c.RedeliveryWindow = cmp.Or(c.RedeliveryWindow, time.Minute)
	c.Batch = cmp.Or(c.Batch, 256)
	c.AckWait = cmp.Or(c.AckWait, 10*time.Second)
	c.MaxAckPending = cmp.Or(c.MaxAckPending, max(8192, 4*c.Batch))
	c.DeadStream = cmp.Or(c.DeadStream, c.Stream+"_DEAD")
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.Grace = cmp.Or(c.Grace, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Echo == nil {
		c.Echo = []time.Duration{5 * time.Second}
	}
	if c.Staleness == nil {
		c.Staleness = []time.Duration{time.Minute, 5 * time.Minute}
	}
}

// Check returns the error that New would return for this configuration, or nil.
func (c Config) Check() error {
	c.setDefaults()
	return c.check()
}

func (c *Config) check() error {
	for _, name := range []struct{ field, value string }{
		{"Stream", c.Stream}, {"Durable", c.Durable}, {"DeadStream", c.DeadStream},
	} {
		if !validName(name.value) {
			return fmt.Errorf("invalid %s %q; want a NATS name without . * > / \\ or white space", name.field, name.value)
		}
	}
	switch {
	case c.Rules == nil:
		return errors.New("missing Rules; parse them with rules.Parse")
	case slices.ContainsFunc(c.Echo, func(d time.Duration) bool { return d < time.Millisecond || d > time.Hour }):
		return fmt.Errorf("invalid Echo %s; want delays of 1ms to 1h", c.Echo)
	case len(c.Staleness) > maxScales || slices.ContainsFunc(c.Staleness, func(d time.Duration) bool {
		return d < time.Millisecond || d > time.Hour || d%time.Millisecond != 0
	}):
		return fmt.Errorf("invalid Staleness %s; want at most %d scales of 1ms to 1h, in whole milliseconds", c.Staleness, maxScales)
	case !(c.StalenessSample > 0 && c.StalenessSample <= 1):
		return fmt.Errorf("invalid StalenessSample %v; want a share above 0 and at most 1", c.StalenessSample)
	case c.Batch < 1 || c.Batch > 10_000:
		return fmt.Errorf("invalid Batch %d; want 1 to 10000", c.Batch)
	case c.AckWait < time.Second:
		return fmt.Errorf("invalid AckWait %s; want at least 1s", c.AckWait)
	case c.MaxAckPending < 4*c.Batch:
		return fmt.Errorf("invalid MaxAckPending %d; want at least four batches of %d", c.MaxAckPending, c.Batch)
	case c.DeadStream == c.Stream:
		return fmt.Errorf("invalid DeadStream %q; want another stream than Stream", c.DeadStream)
	case c.Replicas < 1 || c.Replicas > 5:
		return fmt.Errorf("invalid Replicas %d; want 1 to 5", c.Replicas)
	case c.Grace < 0:
		return fmt.Errorf("invalid Grace %s; want 0 or more", c.Grace)
	}
	return nil
}

// validName reports whether NATS accepts a name for a stream and for a consumer.
func validName(name string) bool {
	return name != "" && !strings.ContainsAny(name, ".*>/\\") &&
		strings.IndexFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) < 0
}
