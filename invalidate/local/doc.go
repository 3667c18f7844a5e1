// Package local evicts values that an event made stale from a cache inside a process: the L1 cache of one instance of an
// application. Each instance follows the stream that the relay publishes to.
//
//	set, err := rules.Parse("rules.yaml", data)
//	l, err := local.New(js, local.Config{Stream: "OUTBOX", Rules: set, Evict: cache.Delete, Flush: cache.Clear})
//	err = l.Run(ctx) // until ctx ends
//
// The rules are those of package invalidate, which cleans the shared cache in Redis. The evictor passes each key exactly as
// the rules spell it, prefix included, so the cache must use the same keys, or Evict must translate them. It passes tags to
// [Config.EvictTag]; without that function it flushes the cache for each tag.
//
// # Each key is evicted twice
//
// The evictor evicts a key when its event arrives, and again after [Config.RepeatAfter]. Once is not enough. This instance
// often receives an event before the invalidators have cleaned Redis, and a reader that began earlier can still put back
// into Redis what it read before the commit. The next reader in this process would load that old value from Redis, and
// nothing would remove it.
//
// The echo of package invalidate deletes the key from Redis for the last time D after the event entered the stream; D is
// 5 s by default. A value loaded after that is new. So the second eviction must come later than the echo, by the time that
// the echo takes and by the time from a read in Redis to the write in this process. That is why RepeatAfter defaults to 1 s
// more than the longest echo, 6 s, and why New rejects a RepeatAfter that is not longer than every echo of the rules. If
// the invalidators have a longer default echo, set RepeatAfter accordingly.
//
// Flushes come twice too, for the same reason.
//
// # No event is missed without a flush
//
// The evictor uses an ephemeral consumer without acks, and compares counts to detect whether a message is missing. When the
// first consumer exists, the evictor flushes the cache, because values may have been cached before, and receives what is
// new. After that:
//
//   - The evictor counts deliveries. Idle heartbeats of the server carry the number of deliveries that it has made and the
//     sequence that it has reached. If a delivery is missing, the connection is lost or the server does not respond, the
//     next consumer starts after the last sequence that the evictor has seen. No event is missed, so nothing is flushed.
//   - It is a gap if the stream no longer has the next sequence because messages aged out or were purged, if the stream ends
//     before it, if the stream was deleted and created again, or if it has so many new events that evicting would take
//     longer than loading ([Config.MaxPending]). The evictor logs the reason, counts it in [Stats].Gaps and flushes.
//   - A consumer that lags skips messages that the stream drops, and does not report it. So the evictor requests the state
//     of the stream once in each MaxUnconfirmed. If the first message of the stream comes after the position that the
//     evictor had at the previous check, that is a gap too. A stream that keeps events for less than two MaxUnconfirmed
//     therefore causes a flush at each check.
//   - A poison event lacks what a rule requires. The evictor evicts the keys that it can derive and flushes, because it
//     cannot know what else the event made stale. Package invalidate dead-letters the event; this package does not.
//     Flushes for poison events and tags run at most eight times in each RepeatAfter. Markers of parked events are ignored.
//
// # How old a value can be
//
// While no event is known to be missing, an old value is gone at the latest RepeatAfter after its event entered the stream.
// If the connection is dead or the evictor lags, the cache is flushed MaxUnconfirmed after the last moment at which no event
// was missing, and then once in each MaxUnconfirmed until none is missing again. So a value in this cache is never older
// than an event that has been in the stream for
//
//	RepeatAfter + MaxUnconfirmed          (16 s by default)
//
// while this process runs and the callbacks return. Add an eighth of RepeatAfter if many flushes are requested, and twice
// RepeatAfter where too many second evictions became a flush. The time from the commit to the stream is the lag of the
// relay, and comes on top. An application that needs less must ask [Evictor.Healthy] before each read and bypass the cache
// while it returns false.
//
// The bound does not cover an invalidator that is down or lags: it cleans Redis later than D, and a reader may load the
// old value after the second eviction. Nor does it cover a reader that takes longer than the margin of RepeatAfter from
// Redis to this cache, unless the cache discards a running load when its key is evicted, as otter does. For these, the time
// to live of the L1 cache is the last resort: give every value one, of at most a minute.
//
// # Limits
//
// The evictor does not notice messages that are removed from the middle of the stream while it is disconnected: by subject,
// one by one, by a limit for each subject, or by a time to live of their own. The stream of a relay uses none of these. Nor
// does it notice a stream that was restored to an older state under its own name and has grown past the old position before
// the evictor returns.
//
// Events reach the callbacks through a buffer of up to a thousand events, which does not count as lag: if a callback is
// slow, add its time for that many events to the bound.
//
// # Cost
//
// For each instance the server keeps one consumer, in memory and without replicas, and sends it every event that matches a
// rule; n instances receive the stream n times. When idle, an instance makes one pull request every 20 s and requests the
// state of the stream every 10 s, and the server sends a heartbeat every 2.5 s. Run deletes its consumer; the server deletes
// the consumer of a killed process after 40 s. The server needs no other setup, but the stream must keep its messages
// (limits retention). Pending second evictions take memory for RepeatAfter: at 10,000 keys a second, that is 60,000 keys.
package local
