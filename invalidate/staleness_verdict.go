package invalidate

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// How a value is evaluated
//
// By its version, if the rule has one. A value with an older version than the event is old. A value with the same or a
// newer version is clean, whatever its age. If the event reports that the row was deleted, the same version proves
// nothing, because the value may show the row as it last was. A value whose version cannot be read or compared is
// evaluated by its age.
//
// By its age, if the rule has a ttl. Readers write a value with a time to live of [min,max] and never refresh it. The
// remaining time to live therefore gives an interval in which the value was filled:
//
//	     before                event          after
//	-------|---------------------|--------------|-------->  time of the fill
//	missed |               suspect              | clean
//
// missed: the latest possible time of the fill is before the event. So the value existed when the event was processed,
// and no deletion reached it. A correct invalidator must never cause this verdict. Two bounds make sure of that:
//   - created_at of the event is the time of its INSERT, which is before the commit, by the clock of the database.
//     databaseClockMargin is how far that clock may be ahead of ours.
//   - the time at which the stream stored the event is a second bound, by our own clock. So no error of the database
//     clock can turn a value that was filled after that time into a missed one. A deleted value that is filled again is
//     filled later still.
//
// clean: the earliest possible time of the fill is later than the time at which the stream stored the event, which is
// after the commit, plus the time that the slowest reader needs. So no reader of the old row can have filled it. With
// an EchoGate, that time counts from the moment at which all replicas showed the event.
//
// suspect: everything else, including a value that never expires, one that lives longer than the rule allows, and one
// that the Redis user may not read. A rule whose ttl is an interval as wide as the scale, or a scale shorter than the
// slowest reader, yields hardly anything but suspects for values filled after the event. Such rules need a version.
//
// Limits: a Redis clock that is set forward makes every value look older by that amount. A reader that writes a shorter
// time to live than the rule declares makes its values look older, and one that refreshes them makes them look younger.

const (
	databaseClockMargin = time.Second          // how far the clock of the database may be ahead
	ttlResolution       = 2 * time.Millisecond // PTTL returns whole milliseconds
)

// A verdict is the result of evaluating one value.
type verdict int

const (
	absent verdict = iota
	clean
	suspect
	noTTL  // a suspect that never expires
	missed // a violation by its age
	old    // a violation by its version
)

// fillBounds are the two times, by our clock, with which the time of a fill is compared.
type fillBounds struct {
	before time.Time // a value filled earlier than this was filled before the event
	after  time.Time // a value filled later than this cannot come from a reader of the old row; zero: not known yet
}

// fillBounds returns the bounds for an event that has been in hand since a time.
//
// It subtracts the margin that clock adds: the time of the slowest reader is a larger estimate anyway, and an echo does
// not wait for that margin if the message was in hand early enough. A value filled right after the echo should be
// clean.
func (c *consumer) fillBounds(ev *event.Event, msg jetstream.Msg, since time.Time) fillBounds {
	stored := c.clock.latest(storedAt(msg.Reply()), since).Add(-clockMargin)
	b := fillBounds{before: stored, after: stored}
	if !ev.CreatedAt.IsZero() && ev.CreatedAt.Before(stored) {
		b.before = ev.CreatedAt
	}
	b.before = b.before.Add(-databaseClockMargin)
	if c.cfg.EchoGate != nil {
		passed, ok := c.cfg.EchoGate.Passed(stored)
		if !ok {
			b.after = time.Time{}
			return b
		}
		if passed.After(stored) {
			b.after = passed
		}
	}
	b.after = b.after.Add(c.slowest)
	return b
}

// evaluate returns the verdict about a value, and the details of a violation.
func (k *keyCheck) evaluate() (verdict, Violation) {
	if k.state.ttlErr == nil && k.state.ttl == -2 {
		return absent, Violation{}
	}
	v := Violation{
		Key: k.Key, EventID: k.event.ID, Subject: k.event.Subject, Sequence: k.seq, CreatedAt: k.event.CreatedAt, Time: k.state.answered,
	}
	version, byVersion := k.byVersion()
	byAge, from, to := k.byAge()
	if byVersion != suspect {
		v.Tier, v.Due, v.Version = TierVersion, k.Due, version
		return byVersion, v
	}
	v.Tier, v.FilledAfter, v.FilledBefore = TierAge, from, to
	return byAge, v
}

// byVersion evaluates the version of a value. It returns suspect if the value has none or the version proves nothing.
func (k *keyCheck) byVersion() (string, verdict) {
	if k.Due == "" || k.state.valueErr != nil {
		return "", suspect
	}
	version, err := k.Version.Of(k.state.value)
	if err != nil {
		return "", suspect
	}
	atLeast, err := rules.Newer(version, k.Due)
	if err != nil {
		return version, suspect
	}
	if !atLeast {
		return version, old
	}
	if same, err := rules.Newer(k.Due, version); k.deleted && (same || err != nil) {
		return version, suspect
	}
	return version, clean
}

// byAge evaluates the remaining time to live of a value. It also returns the interval in which the value was filled.
func (k *keyCheck) byAge() (v verdict, from, to time.Time) {
	left := k.state.ttl
	switch {
	case k.TTL == rules.Span{}, k.state.ttlErr != nil:
		return suspect, from, to
	case left == -1:
		return noTTL, from, to
	case left > k.TTL.Max+ttlResolution:
		return suspect, from, to
	}
	from = k.state.asked.Add(left - k.TTL.Max - ttlResolution)
	to = k.state.answered.Add(left - max(k.TTL.Min, left) + ttlResolution)
	switch {
	case to.Before(k.bounds.before):
		return missed, from, to
	case !k.bounds.after.IsZero() && from.After(k.bounds.after):
		return clean, from, to
	}
	return suspect, from, to
}
