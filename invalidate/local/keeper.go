package local

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

const (
	wordsAhead   = 256         // words that the link may be ahead of the keeper
	dueAtOnce    = 1024        // second evictions between two words
	flushSteps   = 8           // flushes for events in each Again, at most
	poisonSilent = time.Minute // between two lines of the log about poison
)

// A word is one thing that the link has to tell.
type word struct {
	kind    kind
	msg     *nats.Msg // of an event
	why     string    // of a gap; "" for a consumer that was made without one
	current bool      // nothing that the stream has is missing once this is worked off
}

type kind int

const (
	opened  kind = iota // a consumer was made in place of the last one
	fresh               // the first consumer was made
	gap                 // events may have been missed
	arrived             // an event came
	alive               // the server was heard
)

// A keeper calls the cache: at once for what it is told, and again when that is due. Everything in it belongs to the
// goroutine in run. Times are since the base of the evictor.
type keeper struct {
	e        *Evictor
	resolver *rules.Resolver
	found    []rules.Deletion // scratch
	pending  queue
	flushed  time.Duration // when the cache was last flushed
	blindAt  time.Duration // when to flush unless there is word before
	blind    bool          // there was none
	poisoned time.Duration // when poison was last logged; 0: never
}

func newKeeper(e *Evictor) *keeper {
	grid := max(1, e.cfg.Again/flushSteps)
	return &keeper{
		e: e, resolver: e.cfg.Rules.NewResolver(),
		pending: queue{most: e.cfg.MaxPending, grid: grid},
		blindAt: time.Since(e.base) + e.cfg.MaxSilent,
	}
}

func (k *keeper) now() time.Duration { return time.Since(k.e.base) }

// run works until ctx ends, or the link does.
func (k *keeper) run(ctx context.Context, words <-chan word, ended <-chan struct{}) {
	armed := k.blindAt
	timer := time.NewTimer(armed - k.now())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case w := <-words:
			k.hear(w)
		case <-timer.C:
			armed = 0
		}
		k.due()
		next := k.blindAt
		if due, ok := k.pending.next(); ok {
			next = min(next, due)
		}
		if next != armed {
			armed = next
			timer.Reset(next - k.now())
		}
	}
}

// hear works off one word.
func (k *keeper) hear(w word) {
	switch w.kind {
	case fresh:
		k.e.stats.update(func(s *Stats) { s.Opened++ })
		k.flush() // after the consumer was made: what was cached before may be older than events before it
	case opened:
		k.e.stats.update(func(s *Stats) { s.Opened++ })
		if w.why != "" {
			k.gap(w.why)
		}
	case gap:
		k.gap(w.why)
	case arrived:
		k.event(w.msg)
	case alive:
	}
	if !w.current {
		return
	}
	now := k.now()
	k.blindAt = now + k.e.cfg.MaxSilent
	k.e.upToDate.Store(int64(now))
	if k.blind {
		k.blind = false
		k.e.log.Info("up to date again")
	}
}

// gap flushes because events may have been missed.
func (k *keeper) gap(why string) {
	k.e.log.Warn("events may have been missed, flushing", "reason", why)
	k.e.stats.update(func(s *Stats) { s.Gaps++ })
	k.flush()
}

// event evicts what one event made stale, and plans to do it again.
func (k *keeper) event(msg *nats.Msg) {
	if marker(msg) {
		return
	}
	e, err := read(msg)
	var wrong error
	k.found, wrong = k.resolver.Resolve(&e, k.found[:0])
	poison := err != nil || wrong != nil
	everything := poison // nobody knows what else it made stale
	keys, tags, overflows := 0, 0, 0
	for _, d := range k.found {
		if !d.Tag {
			keys++
		} else if tags++; k.e.cfg.EvictTag == nil {
			everything = true
			continue
		}
		k.evict(d.Key, d.Tag)
		if !k.pending.add(eviction{due: k.now() + k.e.cfg.Again, key: d.Key, tag: d.Tag}) {
			overflows++
		}
	}
	clear(k.found)
	if overflows > 0 {
		k.e.log.Warn("too many second evictions to come, flushing instead", "limit", k.e.cfg.MaxPending)
	}
	k.e.stats.update(func(s *Stats) {
		s.Events++
		s.Keys += int64(keys)
		s.Tags += int64(tags)
		s.Overflows += int64(overflows)
		s.Pending = len(k.pending.list)
		if poison {
			s.Poison++
		}
	})
	if everything {
		k.flushSoon()
	}
	if now := k.now(); poison && (k.poisoned == 0 || now-k.poisoned > poisonSilent) {
		k.poisoned = now
		if err == nil {
			err = wrong
		}
		k.e.log.Warn("poison event, flushing; others are only counted for a while", "event_id", e.ID, "subject", e.Subject, "err", err)
	}
}

func (k *keeper) evict(key string, tag bool) {
	if tag {
		k.e.cfg.EvictTag(key)
	} else {
		k.e.cfg.Evict(key)
	}
}

// due does what is due by now.
func (k *keeper) due() {
	now := k.now()
	if now >= k.blindAt {
		k.goBlind(now)
	}
	if k.pending.flushDue(now) {
		k.flushOnce()
	}
	again := 0
	for again < dueAtOnce {
		v, ok := k.pending.pop(now)
		if !ok {
			break
		}
		k.evict(v.key, v.tag)
		again++
	}
	if again > 0 {
		k.e.stats.update(func(s *Stats) { s.Again += int64(again); s.Pending = len(k.pending.list) })
	}
}

// goBlind flushes because for MaxSilent nobody said that nothing is missing, and will again if it stays so.
func (k *keeper) goBlind(now time.Duration) {
	if !k.blind {
		k.blind = true
		k.e.log.Warn("no word that nothing is missing, flushing until there is", "wait", k.e.cfg.MaxSilent)
	}
	k.e.stats.update(func(s *Stats) { s.Blind++ })
	k.blindAt = now + k.e.cfg.MaxSilent
	k.flushOnce()
}

// flush flushes at once and, as with a key, again.
func (k *keeper) flush() {
	k.flushOnce()
	k.pending.flush(k.flushed + k.e.cfg.Again)
}

// flushSoon flushes, at once if that was not done just before, and again. It bounds the flushes for events: whoever
// publishes one such event after the other does not have the cache flushed for each.
func (k *keeper) flushSoon() {
	now := k.now()
	if k.flushed == 0 || now-k.flushed >= k.pending.grid {
		k.flush()
		return
	}
	k.pending.flush(now)
	k.pending.flush(now + k.e.cfg.Again)
}

func (k *keeper) flushOnce() {
	k.e.cfg.Flush()
	k.flushed = k.now()
	k.e.stats.update(func(s *Stats) { s.Flushes++ })
}
