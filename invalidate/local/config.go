package local

import (
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
	defaultEcho  = 5 * time.Second // of the invalidators of the shared cache, for rules that do not say
	echoMargin   = time.Second     // for the echo to delete, and for a reader from there to the cache in this process
	shortSilence = 200 * time.Millisecond
)

// Config says what an Evictor follows and what it calls. The zero value of a field means its default.
//
// Evict, EvictTag and Flush are called by one goroutine, one after the other, never after Run has returned. They must
// not block and must not be slow: while one runs nothing is evicted. They must evict even what is being loaded at that
// moment if the cache can do that; a cache that cannot is served by the second eviction.
type Config struct {
	// Stream is the JetStream stream that the relay publishes to. Required.
	Stream string
	// Rules say which keys an event makes stale: the same as for the shared cache, if keys are the same in both.
	// Required.
	Rules *rules.Set
	// Evict removes one key from the cache. Required.
	Evict func(key string)
	// EvictTag removes all values with a tag from the cache. Defaults to Flush, because the evictor cannot know
	// which keys those are.
	EvictTag func(tag string)
	// Flush removes everything from the cache. Required.
	Flush func()
	// Again is how long after the first eviction the second one comes. It has to be longer than the longest echo
	// of the shared cache, see the package documentation. Defaults to a second more than that: the longest that
	// the rules name, 5 s at least.
	Again time.Duration
	// MaxPending is how many second evictions may wait. With more, all of them become one flush, at the time of
	// the last. An evictor that was cut off does not catch up with more events than that either, but flushes. Each
	// takes about 32 bytes beside the key. Defaults to 100,000.
	MaxPending int
	// MaxSilent is how long the cache may be trusted without word from the server that nothing is missing. After
	// that it is flushed, again and again until there is word, and Healthy says false. The server is asked for
	// word four times in it. At least 200 ms. Defaults to 10 s.
	MaxSilent time.Duration
	// Logger hears of gaps, silence, poison and lost consumers, never of single events that went well. Defaults
	// to one that discards.
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	def(&c.Again, max(defaultEcho, longest(c.Rules.Delays([]time.Duration{defaultEcho})))+echoMargin)
	def(&c.MaxPending, 100_000)
	def(&c.MaxSilent, 10*time.Second)
	def(&c.Logger, slog.New(slog.DiscardHandler))
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check refuses what was given; zero fields with a default are fine.
func (c *Config) check() error {
	switch {
	case c.Stream == "" || strings.ContainsAny(c.Stream, ".*>/\\") || strings.ContainsFunc(c.Stream, odd):
		return fmt.Errorf("the Stream %q is not a NATS name: it is required and has no . * > / \\ or white space", c.Stream)
	case c.Rules == nil:
		return errors.New("no Rules: they are required, see rules.Parse")
	case c.Evict == nil:
		return errors.New("no Evict: it is required")
	case c.Flush == nil:
		return errors.New("no Flush: it is required, events can be missed")
	case c.Again < 0:
		return fmt.Errorf("the value of Again is %s, it cannot be negative", c.Again)
	case c.MaxPending < 0:
		return fmt.Errorf("the value of MaxPending is %d, it cannot be negative", c.MaxPending)
	case c.MaxSilent != 0 && c.MaxSilent < shortSilence:
		return fmt.Errorf("the value of MaxSilent is %s, it has to be at least %s", c.MaxSilent, shortSilence)
	}
	if echo := longest(c.Rules.Delays(nil)); c.Again != 0 && c.Again <= echo {
		return fmt.Errorf("the value of Again is %s, it has to be longer than the longest echo of the rules, %s", c.Again, echo)
	}
	return nil
}

func odd(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

func longest(delays []time.Duration) time.Duration {
	return slices.Max(append([]time.Duration{0}, delays...))
}
