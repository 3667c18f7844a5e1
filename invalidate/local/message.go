package local

import (
	"errors"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// isMarker reports whether a message only marks the position of a parked event.
func isMarker(msg *nats.Msg) bool {
	return strings.HasPrefix(msg.Subject, outbox.ParkedPrefix) && msg.Header.Get(outbox.HeaderParked) != ""
}

// parse returns the event of a message. If its headers are invalid, parse returns an event with everything that the rules
// need, and an error that wraps rules.ErrPoison.
func parse(msg *nats.Msg) (outbox.Event, error) {
	event, err := outbox.Parse(msg.Subject, msg.Header, msg.Data)
	if err == nil {
		return event, nil
	}
	event = outbox.Event{
		Subject: msg.Subject,
		Key:     msg.Header.Get(outbox.HeaderKey),
		Payload: msg.Data,
		Headers: make(map[string]string),
	}
	for name, values := range msg.Header {
		if len(values) > 0 {
			event.Headers[name] = values[0]
		}
	}
	return event, errors.Join(rules.ErrPoison, err)
}
