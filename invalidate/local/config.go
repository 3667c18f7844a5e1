package local

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
)

const (
	defaultEcho       = 5 * time.Second // of the invalidators of the shared cache, for rules without an echo
	echoMargin        = time.Second     // for the echo to delete, and for a reader to copy a value from there to this process
	leastUnconfirmed  = 200 * time.Millisecond
	confirmsPerPeriod = 4 // heartbeats that the server is asked for in each MaxUnconfirmed
)

// Config configures an Evictor. A zero field means its default.
//
// One goroutine calls Evict, EvictTag and Flush, one call after the other, and never after Run has returned. They must
// return quickly and must not block, because nothing else is evicted meanwhile. They should also discard a value that is
// being loaded at that moment; for a cache that cannot do that, the second eviction removes the value.
type Config struct {
	// Stream is the JetStream stream that the relay publishes to. Required.
	Stream string
	// Rules determine which keys an event makes stale. Use the rules of the shared cache if both caches use the same keys.
	// Required.
	Rules *rules.Set
	// Evict removes one key from the cache. Required.
	Evict func(key string)
	// EvictTag removes all values with a tag from the cache. Defaults to Flush, because the evictor does not know the keys
	// of a tag.
	EvictTag func(tag string)
	// Flush removes everything from the cache. Required.
	Flush func()
	// RepeatAfter is the time from the first eviction of a key to the second. It must be longer than the longest echo of
	// the shared cache; the package documentation explains why. Defaults to the longest echo of the rules, but at least
	// 5 s, plus 1 s.
	RepeatAfter time.Duration
	// MaxPending is the largest number of second evictions that may wait. If more are due later, one flush at the time of
	// the last replaces all of them. An evictor that was disconnected catches up with at most this many events; if there
	// are more, it flushes. Each pending eviction takes about 32 bytes plus its key. Defaults to 100,000.
	MaxPending int
	// MaxUnconfirmed is how long the cache may be used while the server does not confirm that no event is missing. After
	// that the evictor flushes the cache once in each such period until the server confirms, and Healthy returns false. The
	// evictor asks for four confirmations in each period. At least 200 ms. Defaults to 10 s.
	MaxUnconfirmed time.Duration
	// Logger receives gaps, missing confirmations, poison events and lost consumers; no single event that went well.
	// Defaults to one that discards.
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	c.RepeatAfter = cmp.Or(c.RepeatAfter, max(defaultEcho, longest(c.Rules.Delays([]time.Duration{defaultEcho})))+echoMargin)
	c.MaxPending = cmp.Or(c.MaxPending, 100_000)
	c.MaxUnconfirmed = cmp.Or(c.MaxUnconfirmed, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
}

// check validates the fields as the caller set them, before the defaults.
func (c *Config) check() error {
	switch {
	case c.Stream == "" || strings.ContainsAny(c.Stream, ".*>/\\") || strings.ContainsFunc(c.Stream, spaceOrControl):
		return fmt.Errorf("invalid Stream %q; want a NATS name, without . * > / \\ or white space", c.Stream)
	case c.Rules == nil:
		return errors.New("Rules missing; want the result of rules.Parse")
	case c.Evict == nil:
		return errors.New("Evict missing; want a function that removes one key")
	case c.Flush == nil:
		return errors.New("Flush missing; want a function that empties the cache, for events that were missed")
	case c.RepeatAfter < 0:
		return fmt.Errorf("invalid RepeatAfter %s; want a positive duration, or 0 for the default", c.RepeatAfter)
	case c.MaxPending < 0:
		return fmt.Errorf("invalid MaxPending %d; want a positive number, or 0 for the default", c.MaxPending)
	case c.MaxUnconfirmed != 0 && c.MaxUnconfirmed < leastUnconfirmed:
		return fmt.Errorf("invalid MaxUnconfirmed %s; want at least %s, or 0 for the default", c.MaxUnconfirmed, leastUnconfirmed)
	}
	if echo := longest(c.Rules.Delays(nil)); c.RepeatAfter != 0 && c.RepeatAfter <= echo {
		return fmt.Errorf("invalid RepeatAfter %s; want more than the longest echo of the rules, %s", c.RepeatAfter, echo)
	}
	return nil
}

func spaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

func longest(delays []time.Duration) time.Duration {
	return slices.Max(append([]time.Duration{0}, delays...))
}
