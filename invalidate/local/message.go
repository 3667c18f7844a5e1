package local

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// isMarker reports whether a message only marks the position of a parked event.
func isMarker(msg *nats.Msg) bool {
	return strings.HasPrefix(msg.Subject, event.ParkedPrefix) && msg.Header.Get(event.HeaderParked) != ""
}

// parse returns the event of a message. If its headers are invalid, parse returns an event with everything that the rules
// need, and an error that wraps rules.ErrPoison.
func parse(msg *nats.Msg) (event.Event, error) {
	ev, err := event.Parse(msg.Subject, msg.Header, msg.Data)
	if err == nil {
		return ev, nil
	}
	ev = event.Event{
		Subject: msg.Subject,
		Key:     msg.Header.Get(event.HeaderKey),
		Payload: msg.Data,
		Headers: make(map[string]string),
	}
	for name, values := range msg.Header {
		if len(values) > 0 {
			ev.Headers[name] = values[0]
		}
	}
	return ev, errors.Join(rules.ErrPoison, err)
}
