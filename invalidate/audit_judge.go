package invalidate

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// How a value is judged
//
// By its version, where the rule has one: a value that shows a version older than the event's is old, one that shows the
// same or a newer one is clean, whatever its age. (The same is no proof if the event says that the row is deleted: the
// value may show the row as it was last.) A value whose version cannot be read or compared leaves it to its age.
//
// By its age, where the rule has a ttl: readers wrote the value with a time to live of [min,max] and never refreshed it,
// so what is left of that tells, within a span, when it was filled.
//
//	     before                event          after
//	-------|---------------------|--------------|-------->  time of the fill
//	missed |               suspect              | clean
//
// missed: even the latest moment at which it can have been filled is before the event, so it was there when the event
// was worked off, and no delete reached it. That must never be said of a system that deletes well. The event's
// created_at is the moment of its INSERT, which is before the commit, by the clock of the database; auditMargin is how far
// that clock may be ahead of ours. And since the moment at which the event came into the stream, by our own clock, is a
// bound as well, no error of the database's clock can make a value missed that was filled after that: the one that
// is deleted well is filled later still, when the delete had been.
//
// clean: even the earliest moment is later than the event came into the stream (which is after its commit) and the
// slowest reader after that, who may have read the row before. Behind a Gate, later than all replicas had the event, and
// the slowest reader.
//
// suspect: anything else. A value that never expires, one that will live longer than the rule says, or one we may not
// read, is a suspect too. A rule whose ttl is a span as wide as the scale, or a scale shorter than the slowest
// reader, leaves hardly anything but suspects of what is filled after the event: such rules want a version.
//
// What this cannot know: a clock of Redis that was set forward ages every value by that, a reader that writes with
// a shorter time to live than the rule says makes its values look older, and one that refreshes them makes them look
// younger.

const (
	auditMargin = time.Second          // for the clock of the database
	ttlTick     = 2 * time.Millisecond // PTTL is in whole milliseconds
	auditChunk  = 100                  // keys that one pipeline looks at: their values may be large
)

// A finding is what a value was found to be.
type finding int

const (
	absent finding = iota
	clean
	suspect
	noTTL  // a suspect: it never expires
	missed // a violation by its age
	old    // a violation by its version
)

// around is what the time of a fill is held against, by our clock.
type around struct {
	before time.Time // filled earlier than this: before the event
	after  time.Time // filled later than this: not by a reader who can have seen the row as it was; zero: not yet
}

// around finds the moments for an event that we have had in hand since a moment.
func (l *lane) around(ev *event.Event, msg jetstream.Msg, since time.Time) around {
	// Without the margin: the slowest reader is a guess that is larger, and an echo does not wait for the margin if it has
	// the message by then. What is filled right after it should be clean.
	stored := l.clock.latest(storedAt(msg.Reply()), since).Add(-clockMargin)
	span := around{before: stored, after: stored}
	if !ev.CreatedAt.IsZero() && ev.CreatedAt.Before(stored) {
		span.before = ev.CreatedAt
	}
	span.before = span.before.Add(-auditMargin)
	if l.cfg.Gate != nil {
		passed, ok := l.cfg.Gate.Passed(stored)
		if !ok {
			span.after = time.Time{}
			return span
		}
		if passed.After(stored) {
			span.after = passed
		}
	}
	span.after = span.after.Add(l.slowest)
	return span
}

// A sight is what Redis said of a key.
type sight struct {
	asked, answered time.Time
	ttl             time.Duration // that is left; -1: it never expires; -2: there is no such key
	ttlErr          error
	value           []byte // only if the rule has a version
	valueErr        error
}

// lookAt asks Redis for the keys in one pipeline. An error is an outage; what Redis says of a single key is none.
func lookAt(ctx context.Context, rdb redis.UniversalClient, checks []check) error {
	pipe := rdb.Pipeline()
	for i := range checks {
		pipe.PTTL(ctx, checks[i].Key)
		if checks[i].Due != "" {
			look(ctx, pipe, &checks[i].Deletion)
		}
	}
	want := pipe.Len()
	asked := time.Now()
	replies, err := pipe.Exec(ctx)
	answered := time.Now()
	if len(replies) != want {
		return fmt.Errorf("look at keys: %d replies for %d commands: %w", len(replies), want, err)
	}
	for _, reply := range replies {
		if err := reply.Err(); err != nil && !isReply(err) {
			return fmt.Errorf("look at keys: %w", err)
		}
	}
	for i := range checks {
		seen := sight{asked: asked, answered: answered}
		seen.ttl, seen.ttlErr = replies[0].(*redis.DurationCmd).Result()
		replies = replies[1:]
		if checks[i].Due != "" {
			seen.value, seen.valueErr = replies[0].(*redis.StringCmd).Bytes()
			replies = replies[1:]
		}
		checks[i].seen = seen
	}
	return nil
}

// judge says what a value is, and of a violation what is known of it.
func (c *check) judge() (finding, Violation) {
	if c.seen.ttlErr == nil && c.seen.ttl == -2 {
		return absent, Violation{}
	}
	v := Violation{
		Key: c.Key, EventID: c.event.ID, Subject: c.event.Subject, Sequence: c.seq, CreatedAt: c.event.CreatedAt, Time: c.seen.answered,
	}
	version, shown := c.version()
	aged, from, to := c.age()
	if shown != suspect {
		v.Tier, v.Due, v.Version = TierVersion, c.Due, version
		return shown, v
	}
	v.Tier, v.FilledAfter, v.FilledBefore = TierAge, from, to
	return aged, v
}

// version judges by the version; a suspect shows none, or none that says anything.
func (c *check) version() (string, finding) {
	if c.Due == "" || c.seen.valueErr != nil {
		return "", suspect
	}
	version, err := c.Version.Of(c.seen.value)
	if err != nil {
		return "", suspect
	}
	atLeast, err := rules.Newer(version, c.Due)
	if err != nil {
		return version, suspect
	}
	if !atLeast {
		return version, old
	}
	if same, err := rules.Newer(c.Due, version); c.gone && (same || err != nil) {
		return version, suspect
	}
	return version, clean
}

// age judges by the time to live, and tells between which moments the value was filled.
func (c *check) age() (f finding, from, to time.Time) {
	left := c.seen.ttl
	switch {
	case c.TTL == rules.Span{}, c.seen.ttlErr != nil:
		return suspect, from, to
	case left == -1:
		return noTTL, from, to
	case left > c.TTL.Max+ttlTick:
		return suspect, from, to
	}
	from = c.seen.asked.Add(left - c.TTL.Max - ttlTick)
	to = c.seen.answered.Add(left - max(c.TTL.Min, left) + ttlTick)
	switch {
	case to.Before(c.span.before):
		return missed, from, to
	case !c.span.after.IsZero() && from.After(c.span.after):
		return clean, from, to
	}
	return suspect, from, to
}
