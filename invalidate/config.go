package invalidate

import (
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

// Config says what an Invalidator consumes and how. The zero value of a field means its default.
type Config struct {
	// Stream is the JetStream stream that the relay publishes to. Required.
	Stream string
	// Durable names the consumer that deletes at once. All invalidators of one cache share it, each event goes to one
	// of them; another cache needs another name. The other consumers have its name with something else in place of
	// -now, or behind it: invalidate-echo-5s. Defaults to "invalidate-now".
	Durable string
	// Rules say which keys an event makes stale. Required.
	Rules *rules.Set
	// Echo is how long after an event came into the stream its keys are deleted once more, for rules that do not say it
	// themselves; each at least a millisecond, at most an hour. It has to be longer than a reader takes from reading
	// the database to writing the cache, and replicas that readers ask are behind: see the package documentation. nil
	// means 5 s; an empty slice means never.
	Echo []time.Duration
	// Audit is how long after an event came into the stream its keys are looked at, for evidence that no stale value
	// survived: once at each of these scales, by rules that have a ttl or a version; in whole milliseconds, each 1 ms to
	// 1 h, at most eight. One that is shorter than the echoes finds what these are still to delete. nil means 1 min and
	// 5 min; an empty slice means never.
	Audit []time.Duration
	// Sample is the share of the events that audits look at, above 0 and at most 1. Which ones, a hash of their ids says:
	// the same at every scale. Defaults to 0.01.
	Sample float64
	// Gate, if set, holds echoes back until replicas have caught up; Echo counts from then on.
	Gate Gate
	// TagRate is how many members of tags one consumer may delete in a second; negative is without limit. Defaults to
	// 20,000.
	TagRate int
	// ReplayWindow is how much of the recent past is worked off again when Redis turns out to be another server than
	// before, or to have its data from elsewhere: what was deleted may be there again. Negative is never. Defaults to
	// 60 s.
	ReplayWindow time.Duration
	// Batch is how many messages one pipeline of UNLINKs may serve, at most 10,000. A single one is not
	// kept waiting for more. Defaults to 256.
	Batch int
	// AckWait is after how long the server gives an event that was not acknowledged to another
	// invalidator: how long one that was killed delays what it had in hand. At least a second. Defaults
	// to 10 s.
	AckWait time.Duration
	// MaxAckPending is how many events may be in the hands of all invalidators together; the server
	// delivers no more until some are acknowledged. At least four batches. Defaults to 8192, or to four
	// batches if that is more.
	MaxAckPending int
	// DeadStream is the stream that takes poison events. Defaults to Stream + "_DEAD".
	DeadStream string
	// Replicas of the dead-letter stream, and of the bucket that audits write to, when it has to be made, 1 to 5. Defaults to 1.
	Replicas int
	// Grace bounds how long Run goes on with what it has in hand when its context ends; at rest it goes on for up
	// to a second. Defaults to 10 s.
	Grace time.Duration
	// Logger hears of pauses, lost servers and poison, never of single events that went well. Defaults to
	// one that discards.
	Logger *slog.Logger
	// Observe, if set, is called once for each batch after its events were acknowledged, those with tags excepted. It
	// is called by several goroutines, one for each consumer, and must not block.
	Observe func(Done)
}

// Done is what became of one batch.
type Done struct {
	// Consumer is who did it, Delay for how long it lets events wait: 0 for the one that deletes at once.
	Consumer string
	Delay    time.Duration
	// Events are those that were resolved and acknowledged, whether a rule matched or not. The slice and
	// what it points to belong to the invalidator: copy what is needed after Observe returns.
	Events []event.Event
	// Keys is how many keys Redis was asked to delete, equal ones counted once.
	Keys int
	// Deleted is how many of them existed, fill tokens beside them included.
	Deleted int
	// Unlinked is when the last reply of Redis had come: the keys are gone since then.
	Unlinked time.Time
	// Took is the time from the batch in hand to its acks, pauses included.
	Took time.Duration
}

func (c *Config) setDefaults() {
	def(&c.Durable, "invalidate-now")
	def(&c.TagRate, 20_000)
	def(&c.Sample, 0.01)
	def(&c.ReplayWindow, time.Minute)
	def(&c.Batch, 256)
	def(&c.AckWait, 10*time.Second)
	def(&c.MaxAckPending, max(8192, 4*c.Batch))
	def(&c.DeadStream, c.Stream+"_DEAD")
	def(&c.Replicas, 1)
	def(&c.Grace, 10*time.Second)
	def(&c.Logger, slog.New(slog.DiscardHandler))
	if c.Echo == nil {
		c.Echo = []time.Duration{5 * time.Second}
	}
	if c.Audit == nil {
		c.Audit = []time.Duration{time.Minute, 5 * time.Minute}
	}
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Check returns what New would say of the configuration.
func (c Config) Check() error {
	c.setDefaults()
	return c.check()
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
	case slices.ContainsFunc(c.Echo, func(d time.Duration) bool { return d < time.Millisecond || d > time.Hour }):
		return fmt.Errorf("the Echo is %s, each delay has to be 1ms to 1h", c.Echo)
	case len(c.Audit) > maxAudits || slices.ContainsFunc(c.Audit, func(d time.Duration) bool {
		return d < time.Millisecond || d > time.Hour || d%time.Millisecond != 0
	}):
		return fmt.Errorf("the Audit is %s, it can have %d scales, each in whole milliseconds from 1ms to 1h", c.Audit, maxAudits)
	case !(c.Sample > 0 && c.Sample <= 1):
		return fmt.Errorf("the Sample is %v, it has to be above 0 and at most 1", c.Sample)
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
