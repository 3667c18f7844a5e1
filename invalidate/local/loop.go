package local

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

const (
	noticeBuffer   = 256         // notices that the follower may be ahead of the eviction loop
	maxRepeats     = 1024        // second evictions between two notices
	flushSteps     = 8           // flushes for events in each RepeatAfter, at most
	poisonLogPause = time.Minute // between two log lines about poison events
)

// A notice is one report of the follower to the eviction loop.
type notice struct {
	kind     kind
	msg      *nats.Msg // of an event
	why      string    // reason of a gap; empty for a consumer that was created without one
	upToDate bool      // the evictor has everything that the stream has once this notice is processed
}

type kind int

const (
	reopened  kind = iota // a consumer replaced the previous one
	opened                // the first consumer was created
	gap                   // events may have been missed
	arrived               // an event arrived
	confirmed             // the server confirmed that no event is missing
)

// An evictionLoop calls the cache: at once for each notice, and again after RepeatAfter. All fields belong to the goroutine
// of run. Times are since the base of the evictor.
type evictionLoop struct {
	e           *Evictor
	resolver    *rules.Resolver
	found       []rules.Deletion // reused for each event
	pending     queue
	flushed     time.Duration // when the cache was last flushed
	confirmBy   time.Duration // when to flush unless the server confirms before
	unconfirmed bool          // that time has passed without a confirmation
	poisoned    time.Duration // when a poison event was last logged; 0: never
}

func newEvictionLoop(e *Evictor) *evictionLoop {
	grid := max(1, e.cfg.RepeatAfter/flushSteps)
	return &evictionLoop{
		e: e, resolver: e.cfg.Rules.NewResolver(),
		pending:   queue{most: e.cfg.MaxPending, grid: grid},
		confirmBy: time.Since(e.base) + e.cfg.MaxUnconfirmed,
	}
}

func (l *evictionLoop) now() time.Duration { return time.Since(l.e.base) }

// run processes notices and what is due until ctx or the follower ends.
func (l *evictionLoop) run(ctx context.Context, notices <-chan notice, ended <-chan struct{}) {
	armed := l.confirmBy
	timer := time.NewTimer(armed - l.now())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case n := <-notices:
			l.process(n)
		case <-timer.C:
			armed = 0
		}
		l.runDue()
		next := l.confirmBy
		if due, ok := l.pending.next(); ok {
			next = min(next, due)
		}
		if next != armed {
			armed = next
			timer.Reset(next - l.now())
		}
	}
}

// process handles one notice.
func (l *evictionLoop) process(n notice) {
	switch n.kind {
	case opened:
		l.e.stats.update(func(s *Stats) { s.Consumers++ })
		l.flush() // values cached before the consumer existed may be older than events that it does not deliver
	case reopened:
		l.e.stats.update(func(s *Stats) { s.Consumers++ })
		if n.why != "" {
			l.gap(n.why)
		}
	case gap:
		l.gap(n.why)
	case arrived:
		l.event(n.msg)
	case confirmed:
	}
	if !n.upToDate {
		return
	}
	now := l.now()
	l.confirmBy = now + l.e.cfg.MaxUnconfirmed
	l.e.upToDate.Store(int64(now))
	if l.unconfirmed {
		l.unconfirmed = false
		l.e.log.Info("up to date again, cache usable")
	}
}

// gap flushes because events may have been missed.
func (l *evictionLoop) gap(why string) {
	l.e.log.Warn("events may have been missed, flushing the cache", "err", why)
	l.e.stats.update(func(s *Stats) { s.Gaps++ })
	l.flush()
}

// event evicts what one event made stale, and schedules the second eviction.
func (l *evictionLoop) event(msg *nats.Msg) {
	if isMarker(msg) {
		return
	}
	e, err := parse(msg)
	var wrong error
	l.found, wrong = l.resolver.Resolve(&e, l.found[:0])
	poison := err != nil || wrong != nil
	everything := poison // nothing shows what else it made stale
	keys, tags, overflows := 0, 0, 0
	for _, d := range l.found {
		if !d.Tag {
			keys++
		} else if tags++; l.e.cfg.EvictTag == nil {
			everything = true
			continue
		}
		l.evict(d.Key, d.Tag)
		if !l.pending.add(eviction{due: l.now() + l.e.cfg.RepeatAfter, key: d.Key, tag: d.Tag}) {
			overflows++
		}
	}
	clear(l.found)
	if overflows > 0 {
		l.e.log.Warn("too many second evictions pending, replacing them by one flush", "n", l.e.cfg.MaxPending)
	}
	l.e.stats.update(func(s *Stats) {
		s.Events++
		s.Keys += int64(keys)
		s.Tags += int64(tags)
		s.Overflows += int64(overflows)
		s.Pending = len(l.pending.list)
		if poison {
			s.Poison++
		}
	})
	if everything {
		l.flushSoon()
	}
	if now := l.now(); poison && (l.poisoned == 0 || now-l.poisoned > poisonLogPause) {
		l.poisoned = now
		if err == nil {
			err = wrong
		}
		l.e.log.Warn("poison event, flushing the cache; further ones are only counted for a minute",
			"event_id", e.ID, "subject", e.Subject, "err", err)
	}
}

func (l *evictionLoop) evict(key string, tag bool) {
	if tag {
		l.e.cfg.EvictTag(key)
	} else {
		l.e.cfg.Evict(key)
	}
}

// runDue runs the flushes and second evictions that are due, at most maxRepeats of the latter.
func (l *evictionLoop) runDue() {
	now := l.now()
	if now >= l.confirmBy {
		l.flushUnconfirmed(now)
	}
	if l.pending.flushDue(now) {
		l.flushOnce()
	}
	repeated := 0
	for repeated < maxRepeats {
		v, ok := l.pending.pop(now)
		if !ok {
			break
		}
		l.evict(v.key, v.tag)
		repeated++
	}
	if repeated > 0 {
		l.e.stats.update(func(s *Stats) { s.Repeated += int64(repeated); s.Pending = len(l.pending.list) })
	}
}

// flushUnconfirmed flushes because the server has not confirmed for MaxUnconfirmed that no event is missing, and schedules
// the next such flush.
func (l *evictionLoop) flushUnconfirmed(now time.Duration) {
	if !l.unconfirmed {
		l.unconfirmed = true
		l.e.log.Warn("cannot confirm that no event was missed; flushing the cache",
			"wait", l.e.cfg.MaxUnconfirmed.String())
	}
	l.e.stats.update(func(s *Stats) { s.Unconfirmed++ })
	l.confirmBy = now + l.e.cfg.MaxUnconfirmed
	l.flushOnce()
}

// flush flushes at once and, like the eviction of a key, again after RepeatAfter.
func (l *evictionLoop) flush() {
	l.flushOnce()
	l.pending.flush(l.flushed + l.e.cfg.RepeatAfter)
}

// flushSoon flushes at once unless the last flush was less than a grid ago, and again after RepeatAfter. It bounds the
// flushes for events: a publisher of many such events does not cause a flush for each.
func (l *evictionLoop) flushSoon() {
	now := l.now()
	if l.flushed == 0 || now-l.flushed >= l.pending.grid {
		l.flush()
		return
	}
	l.pending.flush(now)
	l.pending.flush(now + l.e.cfg.RepeatAfter)
}

func (l *evictionLoop) flushOnce() {
	l.e.cfg.Flush()
	l.flushed = l.now()
	l.e.stats.update(func(s *Stats) { s.Flushes++ })
}
