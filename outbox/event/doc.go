// Package event is the event of an outbox, and its form as a NATS message. Services insert events with package outbox;
// consumers read them with Parse, without a client of PostgreSQL among their dependencies.
//
//	e, err := event.Parse(msg.Subject, msg.Header, msg.Data)
//
// The subject and the body of the message are those of the event. Headers named Outbox-… hold the rest: see
// HeaderMsgID and the constants beside it.
package event
