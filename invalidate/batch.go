package invalidate

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A batch is the messages in hand, sorted by what must happen to them, and the keys of all of them. A consumer reuses
// one batch to avoid allocations.
type batch struct {
	complete  []jetstream.Msg  // to be acknowledged once the keys are gone; includes markers and irrelevant messages
	tagged    []tagged         // to be acknowledged once the members of their tags are gone
	poison    []poisoned       // to be dead-lettered
	events    []event.Event    // of complete and tagged, without markers and irrelevant messages
	keys      []string         // to be deleted, each listed once
	versioned []rules.Deletion // to be deleted unless the value is new enough, each listed once and none in keys
	index     map[string]int   // of every key: ^position in keys, or position in versioned
	resolved  []rules.Deletion // of the message that was added last

	readVersions bool // an echo: put keys whose rule has a version into versioned

	requested   int       // keys and versioned keys
	irrelevant  int       // messages with a subject that no rule matches, which are acknowledged unread
	unmatched   int       // events that no rule matched otherwise
	skipped     int       // keys and tags whose values have expired
	redelivered int       // messages that were delivered before
	oldest      time.Time // creation of the oldest event
}

// A poisoned message can never be resolved.
type poisoned struct {
	msg   jetstream.Msg
	event event.Event
	err   error
}

// A tagged message waits for its tags. The msg is nil if the message is acknowledged otherwise.
type tagged struct {
	msg  jetstream.Msg
	tags []string
}

func (b *batch) reset() {
	clear(b.complete)
	clear(b.events)
	clear(b.tagged)
	clear(b.poison)
	clear(b.keys)
	clear(b.versioned)
	clear(b.index)
	if b.index == nil {
		b.index = make(map[string]int)
	}
	*b = batch{
		complete: b.complete[:0], events: b.events[:0], tagged: b.tagged[:0], poison: b.poison[:0],
		keys: b.keys[:0], versioned: b.versioned[:0], index: b.index, resolved: b.resolved, readVersions: b.readVersions,
	}
}

// add resolves a message and sorts it into the batch. The keys of a poison event that can be resolved are deleted like
// all others. Keys and tags for which expired returns true are skipped.
func (b *batch) add(r *rules.Resolver, msg jetstream.Msg, expired func(*rules.Deletion, jetstream.Msg) bool) {
	b.resolved = b.resolved[:0]
	if redelivered(msg.Reply()) {
		b.redelivered++
	}
	if isMarker(msg) {
		b.complete = append(b.complete, msg)
		return
	}
	if !r.MatchesSubject(msg.Subject()) {
		b.complete = append(b.complete, msg)
		b.irrelevant++
		return
	}
	ev, parseErr := parseEvent(msg)
	var resolveErr error
	b.resolved, resolveErr = r.Resolve(&ev, b.resolved)
	var tags []string
	for i := range b.resolved {
		switch d := &b.resolved[i]; {
		case expired(d, msg):
			b.skipped++
		case d.Tag:
			tags = append(tags, d.Key)
		default:
			b.addKey(d)
		}
	}
	if err := errors.Join(parseErr, resolveErr); err != nil {
		b.poison = append(b.poison, poisoned{msg, ev, err})
		if len(tags) > 0 {
			b.tagged = append(b.tagged, tagged{tags: tags})
		}
		return
	}
	if len(b.resolved) == 0 {
		b.unmatched++
	}
	if created := createdAt(&ev, msg); b.oldest.IsZero() || created.Before(b.oldest) {
		b.oldest = created
	}
	b.events = append(b.events, ev)
	if len(tags) > 0 {
		b.tagged = append(b.tagged, tagged{msg, tags})
		return
	}
	b.complete = append(b.complete, msg)
}

// addKey adds a key once. If several events require a version of its value, the newest counts. If one event requires
// none, the key is deleted regardless of its value.
func (b *batch) addKey(d *rules.Deletion) {
	versioned := b.readVersions && d.Due != ""
	i, known := b.index[d.Key]
	switch {
	case !known && versioned:
		b.index[d.Key] = len(b.versioned)
		b.versioned = append(b.versioned, *d)
		b.requested++
	case !known:
		b.index[d.Key] = ^len(b.keys)
		b.keys = append(b.keys, d.Key)
		b.requested++
	case i < 0: // is deleted in any case
	case !versioned, b.versioned[i].Version != d.Version:
		b.versioned[i].Due = ""
	default:
		b.versioned[i].Due = newest(b.versioned[i].Due, d.Due)
	}
}

// newest returns the newer of two versions, and "" if they cannot be compared.
func newest(a, b string) string {
	if a == "" {
		return ""
	}
	newer, err := rules.Newer(a, b)
	switch {
	case err != nil:
		return ""
	case newer:
		return a
	}
	return b
}
