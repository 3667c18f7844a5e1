// Package relay moves the events of an outbox to a JetStream stream, in order and once.
//
// # The loop
//
// One relay of any number leads: it holds a session lock in PostgreSQL. A term of the leader alternates two steps.
// Resume reads where the stream ends. A window publishes from there on until there is a doubt, and then the stream is
// read again. Nothing is remembered from one to the next but what PostgreSQL and the stream themselves say.
//
// In a window two goroutines work. The source hands out batches: first what is planned and not published, then what it
// plans itself (table.Session.Plan), a batch ahead of the publisher; when nothing is left it sleeps. The publisher
// sends each event with the sequence that the stream must end with before it, and takes the answers in.
//
// # Order and duplicates
//
// An event has a position for ever, decided by the plan and durable before it is published. Position p goes to
// sequence p + base, and the server refuses it anywhere else. So whoever publishes position p, a leader, a relay that
// thinks it leads, one that wakes up minutes later, publishes the same event to the same place, or is refused. The
// message id is there as well, for consumers and for the server's own deduplication; nothing rests on it.
//
// # Doubts
//
// A timeout, a lost connection, a wrong last sequence: the fate of a message is unknown, and reading the stream tells.
// A server that is away, a stream that is full: wait, for ever, at no cost to the event. A message that is too large,
// a subject that the stream does not cover, a message id used twice: the event can never be published, it is parked
// with the reason and a marker takes its place, so that positions and sequences stay together.
//
// A stream should have one outbox as its only writer. Messages of others do not lose events, see Relay.resume, but
// those whose places they take come later than their order says. On a stream that is shared by design Config.Shared
// leaves the chain out.
//
// Sources: the optimistic concurrency of JetStream (Nats-Expected-Last-Sequence, as nats-server checks it); the cursor of
// head and snapshot is described in sql/queries/plan.sql.
package relay
