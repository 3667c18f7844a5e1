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
// # The echo
//
// One deletion cannot win a race that plain cache-aside has: a reader misses, reads the old row, the row changes, its key
// is deleted, and then the reader fills the cache with what it read. That value stays until its TTL ends. The quicker the
// deletion, the likelier. So every key is deleted once more, [Config.Echo] after the event, by a second consumer of the
// same stream that runs so far behind.
//
// Assume that a reader has written the cache at most R after its database snapshot began, that what it reads is at most L
// behind the primary, and that D, the echo's delay, is at least R + L. A value older than an event then comes from a
// snapshot that began before the commit + L, so it is in the cache before the commit + L + R, which is not after the commit
// + D: the echo deletes it, and none can follow. That holds for clients that do nothing but GET and SETEX, whatever is
// delivered late, twice or in another order: a late echo is an echo. The first deletion is for latency, the echo for safety.
//
// D counts from the moment the message came into the stream, which is after the commit. The clock that stamped it is not
// compared with ours: the server is asked what time it is, and only durations are measured here (see clock). 250 ms are
// added for a server whose clock jumps back.
//
// What it takes: R must really be bounded (statement and write timeouts of the reader, not its goodwill); a process that is
// stopped in between for longer than D writes its old value after the echo. Replicas that are further behind than D - R
// break it too, unless [Config.Gate] says how far they are. What the assumption does not cover the audit counts, and the
// TTL bounds. What it costs: at most one miss more for each change and echo. A rule with a version spares values that are
// new enough: they are read (GET or HGET) and kept. A rule may have no echo, or several, a short one for the usual reader
// and a long one for the slowest.
//
// Events wait in the stream, and in hand, for at most [Config.MaxAckPending] of them, each touched like all others; they
// are never given back with a delay. When an invalidator is killed, what it had in hand is echoed up to
// [Config.AckWait] later.
//
// # Tags
//
// A tag is a SET or a ZSET of keys. All its members are deleted, at most [Config.TagRate] in a second, by a goroutine of
// its own, so that one large tag holds up no other key. The members stay members: a design that removes them loses those
// that are filled in between. [Sweep] removes those without a value later. A scan returns every member that was there
// from its beginning to its end; one that a reader added during it, with an old value, is found by the echo, which scans
// again. That needs a reader that writes the value first and the membership then, or in one go; if it dies in between, the
// value has no tag until its TTL ends.
//
// The event is acknowledged when the scan is done; a scan that is interrupted begins again. A tag that is asked for while
// it waits is scanned once for all. For a tag so large that even this is too much, readers can use stamps (package
// fill): then a rule names one key.
//
// # Fail-over of Redis
//
// Replication is asynchronous: a replica that is promoted may not have the last deletions, and has the keys. So Redis is
// asked every second who it is (run_id and master_replid of each master), and when that changes, the events of
// [Config.ReplayWindow] before are worked off again, by a consumer of its own, from where the slowest of the others stood
// then. The same happens at the start when Redis is another one than when the consumer was last declared. A partition in
// which the old master goes on for longer than the window is not covered.
//
// # Backlogs
//
// Equal keys of a batch are deleted once. Where a rule says the TTL of its values, an event older than that and the
// longest delay made nothing stale that is still there, and is acknowledged without asking Redis. Nothing is ever flushed:
// an empty cache is a stampede.
//
// # Stopping
//
// A pull request cannot be taken back without losing, until [Config.AckWait] is over, what the server has sent on it.
// So each is open for a second at most. When the context of Run ends, no further one is made, and what the open one
// brings is worked off: at rest that takes up to a second, and never longer than [Config.Grace].
//
// An event is buried once, by the consumer that deletes at once. A dead letter waits until a person decides. [Letters] reads them for table.Table.ReplayDead and DropDead (the command
// outbox dead), which record the decision in the database before the letter is deleted.
//
// # Several of them
//
// Invalidators with the same [Config.Durable] share the work. They should have the same rules, since any of them may be given
// an event. A consumer that somebody deletes is made again and delivers the stream from the beginning.
//
// # No filter
//
// The consumers are delivered the whole stream, and acknowledge unread what no rule is about. A filter by subject would
// have the server look for the next message that matches: when a consumer is behind, nats-server 2.15 goes through all
// subjects of a block of messages for each message it delivers, and with thousands of subjects, one for each row, a
// backlog drains at hundreds of messages a second instead of a hundred thousand.
//
// # Limits
//
// The constants of package rules bound rule files and what one event may name. Poison that the dead-letter stream cannot take counts against [Config.MaxAckPending]: when so many
// events wait for it, the consumer stops until it can. The dedupe window of dead letters is two minutes.
package invalidate
