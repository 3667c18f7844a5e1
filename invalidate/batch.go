package invalidate

import (
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A batch is the messages in hand, sorted by what has to happen to them. It is used again and again by the
// goroutine that works.
type batch struct {
	good        []jetstream.Msg // acknowledged once the keys are gone; markers of parked events and unasked ones too
	events      []event.Event   // of the good and the tagged ones, markers and unasked ones not among them
	tagged      []tagged        // acknowledged once the members of their tags are gone
	poison      []poisoned
	keys        []string         // of all of them, each once
	checks      []rules.Deletion // keys of an echo that keeps a value which is new enough, none of them in keys
	seen        map[string]int   // all keys; ^index in keys, or index in checks
	found       []rules.Deletion // scratch
	careful     bool             // sort into checks what says its version
	asked       int              // keys and checks
	unasked     int              // messages on a subject that no rule is about, let go unread
	unmatched   int
	skipped     int
	redelivered int
	oldest      time.Time
}

// A poisoned msg can never be resolved.
type poisoned struct {
	msg   jetstream.Msg
	event event.Event
	err   error
}

// A tagged msg waits for its tags. The msg is nil if nothing has to be acknowledged.
type tagged struct {
	msg  jetstream.Msg
	tags []string
}

func (b *batch) reset() {
	clear(b.good)
	clear(b.events)
	clear(b.tagged)
	clear(b.poison)
	clear(b.keys)
	clear(b.checks)
	clear(b.seen)
	if b.seen == nil {
		b.seen = make(map[string]int)
	}
	*b = batch{
		good: b.good[:0], events: b.events[:0], tagged: b.tagged[:0], poison: b.poison[:0],
		keys: b.keys[:0], checks: b.checks[:0], seen: b.seen, found: b.found, careful: b.careful,
	}
}

// add sorts a message in. Keys that can be made of a poison event are deleted like all others. What is expired does not
// have to be deleted.
func (b *batch) add(s *rules.Resolver, msg jetstream.Msg, expired func(*rules.Deletion, jetstream.Msg) bool) {
	b.found = b.found[:0]
	if redelivered(msg.Reply()) {
		b.redelivered++
	}
	if marker(msg) {
		b.good = append(b.good, msg)
		return
	}
	if !s.Asks(msg.Subject()) {
		b.good = append(b.good, msg)
		b.unasked++
		return
	}
	ev, err := read(msg)
	var wrong error
	b.found, wrong = s.Resolve(&ev, b.found)
	var tags []string
	for i := range b.found {
		switch d := &b.found[i]; {
		case expired(d, msg):
			b.skipped++
		case d.Tag:
			tags = append(tags, d.Key)
		default:
			b.addKey(d)
		}
	}
	if err = errors.Join(err, wrong); err != nil {
		b.poison = append(b.poison, poisoned{msg, ev, err})
		if len(tags) > 0 {
			b.tagged = append(b.tagged, tagged{tags: tags})
		}
		return
	}
	if len(b.found) == 0 {
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
	b.good = append(b.good, msg)
}

// addKey adds a key once. Of several versions that a value has to have, the newest counts; if one event says none, the
// key is deleted whatever its value says.
func (b *batch) addKey(d *rules.Deletion) {
	check := b.careful && d.Due != ""
	i, known := b.seen[d.Key]
	switch {
	case !known && check:
		b.seen[d.Key] = len(b.checks)
		b.checks = append(b.checks, *d)
		b.asked++
	case !known:
		b.seen[d.Key] = ^len(b.keys)
		b.keys = append(b.keys, d.Key)
		b.asked++
	case i < 0: // is deleted in any case
	case !check, b.checks[i].Version != d.Version:
		b.checks[i].Due = ""
	default:
		b.checks[i].Due = newest(b.checks[i].Due, d.Due)
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

// marker says whether a message only stands in for an event that was parked.
func marker(msg jetstream.Msg) bool {
	return strings.HasPrefix(msg.Subject(), event.ParkedPrefix) && msg.Headers().Get(event.HeaderParked) != ""
}

// read returns the event of a message. If its headers cannot be read, it returns what the rules need of it
// all the same, and an error that wraps rules.ErrPoison.
func read(msg jetstream.Msg) (event.Event, error) {
	ev, err := event.Parse(msg.Subject(), msg.Headers(), msg.Data())
	if err == nil {
		return ev, nil
	}
	ev = event.Event{
		Subject: msg.Subject(),
		Key:     msg.Headers().Get(event.HeaderKey),
		Payload: msg.Data(),
		Headers: make(map[string]string),
	}
	for name, values := range msg.Headers() {
		if len(values) > 0 {
			ev.Headers[name] = values[0]
		}
	}
	return ev, errors.Join(rules.ErrPoison, err)
}

// createdAt returns when the event was written, or for a message of a foreign publisher, when it came into
// the stream.
func createdAt(ev *event.Event, msg jetstream.Msg) time.Time {
	if !ev.CreatedAt.IsZero() {
		return ev.CreatedAt
	}
	if meta, err := msg.Metadata(); err == nil {
		return meta.Timestamp
	}
	return time.Now()
}
