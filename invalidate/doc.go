// Package invalidate deletes cached values that an event made stale. It consumes the JetStream stream that the relay
// publishes to, and unlinks the Redis keys that rules name for each event.
//
//	set, err := rules.Parse("rules.yaml", data)
//	v, err := invalidate.New(js, rdb, invalidate.Config{Stream: "OUTBOX", Rules: set})
//	err = v.Run(ctx) // until ctx ends
//
// # The way of a message
//
// An [Invalidator] runs several durable pull consumers of the same stream. Each receives every message:
//
//   - invalidate-now deletes the keys of an event at once.
//   - invalidate-echo-5s deletes them once more 5 s later; there is one such consumer for each delay of [Config.Echo]
//     and of the rules.
//   - invalidate-staleness-1m reads a sample of the keys one minute later and reports stale values that survived; there
//     is one for each scale of [Config.Staleness].
//   - invalidate-redelivery exists only after a fail-over of Redis, while recent events are processed again.
//
// A message passes through a consumer in these steps, each in a file of its own:
//
//  1. pull.go: a puller receives it by a pull request, and holds it until it is due.
//  2. batch.go: the rules resolve its keys and tags. Equal keys of a batch are listed once.
//  3. unlink.go: Redis deletes the keys. An echo first reads the versions of values whose rule has one (version.go).
//  4. process.go: the message is acknowledged after Redis has confirmed every key.
//  5. tag_queue.go, tag_scan.go: the members of its tags are deleted by a goroutine of their own, and only then is a
//     message with tags acknowledged.
//  6. dead_letter.go: a message that can never be resolved is moved to the dead-letter stream.
//
// # Why repetition is safe
//
// An event deletes keys and never writes a value. Deletions are idempotent and commute: a deleted key stays deleted,
// whatever the order and number of the deletions. So events need no order here, a redelivery is harmless, and
// processing the whole stream again costs only cache misses. The next reader loads the value from the database.
//
// The command is UNLINK rather than DEL: it frees the memory of a large value in the background instead of blocking
// other clients. Commands are pipelined. A single server or a Sentinel group gets 32 keys per command. A Redis Cluster
// rejects a command whose keys are in different slots, so it gets one key per command, with the fill token of that key,
// which is always in the same slot. If Redis rejects a command of several keys, these keys are sent again one by one.
//
// # Acknowledged after confirmation
//
// For each batch, the invalidator resolves the keys, unlinks them, and acknowledges the events only after Redis has
// confirmed every key. If it dies in between, the events stay unacknowledged, and after [Config.AckWait] the server
// delivers them to another invalidator, or to the same one after its restart.
//
// # Poison and outages
//
// A poison event can never be resolved: a rule requires a payload field that the event does not have
// ([rules.ErrPoison]). Waiting does not help, and other events must not wait for it. The keys that can be resolved are
// deleted, and a copy goes to the dead-letter stream with the reason. The event is terminated after that stream has
// acknowledged the copy. If the stream does not take the copy, the event stays unacknowledged and is redelivered. Only
// the consumer that deletes at once does this; the others acknowledge a poison event. A dead letter stays until a
// person decides about it, with the command outbox dead.
//
// An outage is any error of a server. It says nothing about the event. The invalidator pauses: it requests no more
// messages, tells the server that the messages in hand are in progress, and repeats the failed operation after 100 ms
// to 5 s until it succeeds, for hours if necessary. New events wait in the stream. It logs the beginning and the end of
// a pause. No error of Redis ever dead-letters an event or drops it.
//
// Therefore MaxDeliver is unlimited: the server silently drops a message that reaches a limit. And no message is given
// back with a delayed Nak: it would still count as unacknowledged, and enough of them would reach MaxAckPending and
// block all other events.
//
// # The echo
//
// A single deletion loses a race that plain cache-aside has: a reader misses, reads the old row, the row changes, its
// key is deleted, and then the reader fills the cache with the old value. That value stays until its TTL ends. A faster
// deletion makes the race more likely. So a second consumer deletes every key once more, D = [Config.Echo] after the
// event.
//
// Assumptions: a reader's write reaches the cache at most R after its database snapshot began; the replica that it
// reads is at most L behind the primary (L = 0 for the primary); and D >= R + L.
//
// Claim: no cached value older than an event remains after its echo, and none can appear later. Proof: such a value
// comes from a snapshot that did not contain the event's transaction. That snapshot began before commit + L. So the
// value reached the cache before commit + L + R, which is not after commit + D. The echo deletes the key at commit + D
// or later, when every such write has been made.
//
// This holds for clients that only GET and SETEX, and for events that are delivered late, repeatedly or in another
// order: a late echo is still an echo. The first deletion provides low latency, the echo provides safety.
//
// D counts from the moment at which the stream stored the event, which is after the commit. The invalidator does not
// compare the clock of the server with its own. It asks the server for its time and measures only durations; see type
// clock. It adds 250 ms for a server whose clock is set back.
//
// Requirements: R must really be bounded, by statement and write timeouts of the reader. A reader process that is
// suspended between its read and its write for longer than D writes its old value after the echo. Replicas that are
// further behind than D - R break the assumption too, unless [Config.EchoGate] holds the echo back until they have
// caught up. Staleness checks count the values that break the assumptions, and the TTL limits their life.
//
// Cost: at most one more cache miss for each change and echo. For a rule with a version, the echo reads the value (GET
// or HGET) and keeps it if it is new enough. A rule may disable its echo, or have several: a short one for most readers
// and a long one for the slowest.
//
// At most [Config.MaxAckPending] events wait in hand for their echo; the others wait in the stream. If an invalidator
// is killed, the echoes of the events that it had in hand are up to [Config.AckWait] late.
//
// # Tags
//
// A tag is a SET or a ZSET of keys. All its members are deleted, at most [Config.TagRate] per second, by a goroutine of
// its own, so that a large tag does not delay other keys. Its membership stays unchanged: removing members would lose
// those that readers add in between. [Sweep] removes members without a value later. A scan returns every member that
// exists from its beginning to its end. A member that a reader adds during the scan, with an old value, is found by the
// scan of the echo. For that, readers must write the value before the membership, or both in one transaction. If a
// reader dies in between, the value is in no tag until its TTL ends.
//
// The event is acknowledged when the scan is complete. An interrupted scan starts again. A tag that several events
// request while it waits is scanned once for all of them. For a tag that is too large even for this, readers can use
// stamps (package fill); then a rule names a single key.
//
// # Fail-over of Redis
//
// Redis replicates asynchronously: a replica that is promoted may lack the last deletions and still have the keys. So
// the invalidator reads the identity of every master (run_id and master_replid) each second. When it changes, the
// events of the last [Config.RedeliveryWindow] before the change are processed again, by a consumer of their own that
// starts where the slowest consumer was at the beginning of that window. The same happens if Redis has another identity
// at the start than when the consumer was last declared. A partition in which the old master continues for longer than
// the window is not covered.
//
// # Staleness checks
//
// A staleness check is evidence that the rest works. Some time after an event it reads the event's keys in Redis and
// decides, by the remaining TTL or by the version of the value, whether the value can be older than the event. It
// counts violations, values that may be stale, and clean values, and derives an upper bound of the share of violations
// at 95 % confidence ([Tally], [Bound]). It writes its [Findings] to a NATS key-value bucket, which [ReadFindings]
// reads. It never deletes a key, and its failure does not stop the consumers that do. The rules of evaluation are in
// staleness_verdict.go.
//
// # Backlogs
//
// If a rule declares the TTL of its values, an event that is older than that TTL plus the longest delay made nothing
// stale that still exists. It is acknowledged without a request to Redis. The invalidator never flushes a cache,
// because an empty cache causes a stampede.
//
// # Stopping
//
// A pull request cannot be canceled without losing the messages that are on their way until [Config.AckWait] is over.
// So each request is open for at most one second. When the context of Run ends, no further request is made, and the
// messages of the open one are processed. An idle invalidator therefore needs up to one second to stop, and a busy one
// at most [Config.Grace].
//
// # Several invalidators
//
// Invalidators with the same [Config.Durable] share the work. They should have the same rules, because the server may
// deliver an event to any of them. If a consumer is deleted, it is created again and receives the whole stream from the
// beginning.
//
// # No subject filter
//
// The consumers receive the whole stream, and acknowledge unread the messages that no rule matches. With a subject
// filter the server has to search for the next message that matches: for each message that it delivers to a consumer
// with a backlog, nats-server 2.15 scans all subjects of a block of messages. With thousands of subjects, one for each
// row, a backlog then drains at hundreds of messages per second instead of a hundred thousand.
//
// # Limits
//
// The constants of package rules limit rule files and what one event may name. Poison events that the dead-letter
// stream does not take count against [Config.MaxAckPending]: when that many wait, the consumer stops until the stream
// takes them. The dedupe window of dead letters is two minutes.
package invalidate
