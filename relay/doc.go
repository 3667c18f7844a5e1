// Package relay moves the events of an outbox to a JetStream stream, in order and once.
//
// # The way of an event
//
// Any number of relays may run; the one that holds a session lock in PostgreSQL leads (Relay.lead). Its term alternates two
// steps. Relay.resume finds out where the stream ends. Relay.window publishes from there until something is in doubt. Nothing
// is carried from one window to the next that PostgreSQL and the stream cannot show again.
//
// Three goroutines run beside the publisher while a window lives, and end with it:
//   - The source passes on batches, first what is planned and not published, then what it plans itself
//     (Session.Plan), one batch ahead of the publisher. When there is nothing to plan, it sleeps until a writer wakes it.
//   - The recorder writes receipts: which position the stream has acknowledged, once a second.
//   - The reconciler checks every few seconds that the stream still has what it acknowledged.
//
// While it leads, a fifth goroutine, the maintainer, creates partitions ahead and drops old ones.
//
// # Order and duplicates
//
// The plan gives each event a position, which never changes and is durable before the event is published. Position p belongs at
// sequence p + base, and the server rejects it anywhere else (Nats-Expected-Last-Sequence). Whoever publishes position p, the leader, a
// relay that still believes it leads, or one that wakes up minutes later, therefore publishes the same event to the same sequence, or is
// rejected. The message id serves consumers and the server's own deduplication; the relay does not depend on it.
//
// # Doubts
//
// A window ends with a doubt. After a timeout, a lost connection or a wrong last sequence, the outcome of a message is unknown, and
// resume reads it from the stream. If the server is not available or the stream is full, the relay waits, indefinitely and at no cost to the
// event. If the server will never accept an event (too large, no stream for its subject, a message id used twice), the relay parks it
// with the reason and publishes a marker at its position, so that positions and sequences stay together.
//
// Resume reads the evidence once (gather), decides (decide, a pure function), and carries the decision out (apply). It repairs a stream that
// lost its end, was created again, or lost messages in the middle.
//
// # Other writers
//
// A stream should have one outbox as its only writer. Messages of others lose no event, but events whose sequences they took
// are published later than their order. On a stream that is shared by design, Config.Shared leaves the chain out.
//
// The protocol rests on the optimistic concurrency of JetStream, as nats-server checks Nats-Expected-Last-Sequence. sql/queries/plan.sql
// describes the cursor of head and snapshot.
package relay
