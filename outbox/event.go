package outbox

import "github.com/seed-6eff6314/outbox-relay/outbox/event"

// Event is one fact that a service publishes: on Subject, about Key, with Payload as its body.
//
//	outbox.Event{
//		Subject: "users." + outbox.Token(id) + ".updated",
//		Key:     id,
//		Payload: payload, // JSON, unless ContentType is set
//	}
//
// Events with the same Key are published in the order of their commits; an empty Key means the subject. ID is the id
// that the broker deduplicates by; Insert fills a zero ID. Consumers read events with package outbox/event.
type Event = event.Event

// Limits of an event. Insert and the table refuse an event that exceeds one. An event within them fits a NATS server
// with its default max_payload of 1 MiB.
const (
	MaxSubject     = event.MaxSubject     // bytes
	MaxKey         = event.MaxKey         // bytes
	MaxPayload     = event.MaxPayload     // bytes
	MaxHeaders     = event.MaxHeaders     // bytes of all headers as JSON
	MaxContentType = event.MaxContentType // bytes
)

// DefaultContentType is what an empty Event.ContentType means.
const DefaultContentType = event.DefaultContentType

// Token encodes any text as one token of a subject: Token("a.b") is "a%2Eb". Use it for any part of a subject that is
// data.
func Token(value string) string { return event.Token(value) }
