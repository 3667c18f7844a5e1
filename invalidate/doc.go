// Package invalidate deletes cached values that an event made stale: it consumes the stream that the relay
// publishes to, and asks Redis to UNLINK the keys that rules name for each event.
//
//	set, err := rules.Parse("rules.yaml", data)
//	v, err := invalidate.New(js, rdb, invalidate.Config{Stream: "OUTBOX", Rules: set})
//	err = v.Run(ctx) // until ctx ends
//
// # Why this is safe to repeat
//
// An event deletes; it never writes a value. Deleting is idempotent and commutes: a key that is gone stays
// gone, in whatever order and however often it is asked for. So events need no order here, being delivered
// twice is no fault, and replaying the whole stream costs a few cache misses and nothing else. The value
// comes back by the next reader, from the database.
//
// UNLINK rather than DEL, because it frees the memory of a large value in the background instead of holding
// up every other client; and one key for each command, pipelined, because a command with several keys is
// refused by a Redis Cluster unless they share a slot.
//
// # Acknowledged after yes
//
// For each batch: resolve the keys, unlink them, and only when Redis has said yes to every key, acknowledge
// the events. Whoever dies in between leaves them unacknowledged, and after [Config.AckWait] the server
// gives them to another invalidator, or to the same one started again.
//
// # Poison and outages
//
// Two things can go wrong, and they must not be taken for each other.
//
// A poison event can never be resolved: a rule needs a payload field and it has none ([rules.ErrPoison]). Waiting
// does not help and others must not wait behind it. Its other keys are deleted, a copy goes to the
// dead-letter stream with the reason, and when that stream has acknowledged the copy, the event is
// terminated. If the stream cannot take it, the event stays unacknowledged and comes again.
//
// An outage is every error of a server. It says nothing about the event. The invalidator pauses: it fetches
// no more, tells NATS that what it has in hand is still wanted, and asks Redis again with 100 ms to 5 s in
// between until it answers, for hours if need be; events wait in the stream. It says once that it pauses and
// once that it goes on. No error of Redis ever dead-letters an event, and none ever gives one up.
//
// That is why MaxDeliver is without limit: when a limit is reached the server drops the message and stores
// nothing anywhere. And why nothing is given back with a delayed Nak: such events count as being in hand,
// fill MaxAckPending, and with that stop the consumer for events that could be worked off.
//
// # Stopping
//
// A pull request cannot be taken back without losing, until [Config.AckWait] is over, what the server has sent on it.
// So each is open for a second at most. When the context of Run ends, no further one is made, and what the open one
// brings is worked off: at rest that takes up to a second, and never longer than [Config.Grace].
//
// A dead letter waits until a person decides. [Letters] reads them for outbox.Table.ReplayDead and DropDead (the command
// outbox dead), which record the decision in the database before the letter is deleted.
//
// # Several of them
//
// Invalidators with the same [Config.Durable] share the work. They should have the same rules: the filter of
// the consumer is made of them by the one that started last, and an event that no rule asks for is not
// delivered to anyone. A consumer that somebody deletes is made again and delivers the stream from the
// beginning.
//
// # Limits
//
// The constants of package rules bound rule files and what one event may name. Poison that the dead-letter stream cannot take counts against [Config.MaxAckPending]: when so many
// events wait for it, the consumer stops until it can. The dedupe window of dead letters is two minutes.
//
// # Not promised yet
//
// A reader that read the old row before the commit may write it into the cache after the key was deleted.
// Closing that race takes a second deletion some time later, the echo, which comes later.
package invalidate
