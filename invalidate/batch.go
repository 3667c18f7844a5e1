package invalidate

import (
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// A batch is the messages in hand, sorted by what has to happen to them. It is used again and again by the
// goroutine that works.
type batch struct {
	good        []jetstream.Msg // acknowledged once the keys are gone; markers of parked events too
	events      []outbox.Event  // of the good ones, markers not among them
	poison      []poisoned
	keys        []string            // of all of them, each once
	seen        map[string]struct{} // the keys
	found       []rules.Deletion    // scratch
	unmatched   int
	redelivered int
	oldest      time.Time
}

// A poisoned msg can never be resolved.
type poisoned struct {
	msg   jetstream.Msg
	event outbox.Event
	err   error
}

func (b *batch) reset() {
	clear(b.good)
	clear(b.events)
	clear(b.poison)
	clear(b.keys)
	clear(b.seen)
	if b.seen == nil {
		b.seen = make(map[string]struct{})
	}
	*b = batch{good: b.good[:0], events: b.events[:0], poison: b.poison[:0], keys: b.keys[:0], seen: b.seen, found: b.found}
}

// add sorts a message in. Keys that can be made of a poison event are deleted like all others.
func (b *batch) add(s *rules.Resolver, msg jetstream.Msg) {
	if redelivered(msg.Reply()) {
		b.redelivered++
	}
	if marker(msg) {
		b.good = append(b.good, msg)
		return
	}
	event, err := read(msg)
	var wrong error
	b.found, wrong = s.Resolve(&event, b.found[:0])
	for _, d := range b.found {
		if _, ok := b.seen[d.Key]; !ok {
			b.seen[d.Key] = struct{}{}
			b.keys = append(b.keys, d.Key)
		}
	}
	if err = errors.Join(err, wrong); err != nil {
		b.poison = append(b.poison, poisoned{msg, event, err})
		return
	}
	if len(b.found) == 0 {
		b.unmatched++
	}
	if created := createdAt(&event, msg); b.oldest.IsZero() || created.Before(b.oldest) {
		b.oldest = created
	}
	b.good = append(b.good, msg)
	b.events = append(b.events, event)
}

// marker says whether a message only stands in for an event that was parked.
func marker(msg jetstream.Msg) bool {
	return strings.HasPrefix(msg.Subject(), outbox.ParkedPrefix) && msg.Headers().Get(outbox.HeaderParked) != ""
}

// read returns the event of a message. If its headers cannot be read, it returns what the rules need of it
// all the same, and an error that wraps rules.ErrPoison.
func read(msg jetstream.Msg) (outbox.Event, error) {
	event, err := outbox.Parse(msg.Subject(), msg.Headers(), msg.Data())
	if err == nil {
		return event, nil
	}
	event = outbox.Event{
		Subject: msg.Subject(),
		Key:     msg.Headers().Get(outbox.HeaderKey),
		Payload: msg.Data(),
		Headers: make(map[string]string),
	}
	for name, values := range msg.Headers() {
		if len(values) > 0 {
			event.Headers[name] = values[0]
		}
	}
	return event, errors.Join(rules.ErrPoison, err)
}

// createdAt returns when the event was written, or for a message of a foreign publisher, when it came into
// the stream.
func createdAt(event *outbox.Event, msg jetstream.Msg) time.Time {
	if !event.CreatedAt.IsZero() {
		return event.CreatedAt
	}
	if meta, err := msg.Metadata(); err == nil {
		return meta.Timestamp
	}
	return time.Now()
}

// redelivered reads from the reply subject of a message whether it was delivered before, without the
// allocations of Metadata. The subject is $JS.ACK.<stream>.<consumer>.<delivered>.… or, with a domain,
// $JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.… (NATS ADR-15).
func redelivered(reply string) bool {
	skip := 4
	if strings.Count(reply, ".") > 8 {
		skip = 6
	}
	for range skip {
		_, reply, _ = strings.Cut(reply, ".")
	}
	times, _, _ := strings.Cut(reply, ".")
	return times != "1" && times != ""
}
