// Package local evicts the values that an event made stale from a cache inside a process, the L1 of one instance of an
// application: each instance follows the stream that the relay publishes to.
//
//	set, err := rules.Parse("rules.yaml", data)
//	l, err := local.New(js, local.Config{Stream: "OUTBOX", Rules: set, Evict: cache.Delete, Flush: cache.Clear})
//	err = l.Run(ctx) // until ctx ends
//
// The rules are those of package invalidate, which cleans the shared cache. A key is evicted exactly as the rules spell
// it, prefix included, so the cache has to use the same keys, or Evict has to translate them. A tag goes to
// [Config.EvictTag]; without it, all is flushed.
//
// # Twice
//
// Each key is evicted when its event comes, and again after [Config.Again]. Once is not enough: this instance often
// hears of an event before the invalidators have cleaned Redis, or a reader on its way puts back there what it read
// before the commit; the next reader here would load that old value from Redis, and nobody would remove it. The echo
// deletes from Redis for the last time D after the event came into the stream, 5 s by default. What is loaded from then
// on is new. So the second eviction has to come later than the echo, by what the echo takes and by the time from a read
// in Redis to the write in this process: that is why Again defaults to a second more than the longest echo, 6 s, and
// why New refuses one that is not longer than an echo of the rules. If the invalidators were told a longer default
// echo, tell Again.
//
// Flushes come twice too, for the same reason.
//
// # Nothing is missed silently
//
// The consumer is an ephemeral one without acks, and what happens is known to the number. The first consumer gets what
// is new, and the cache is flushed once it is there, since values may have been cached before. Later:
//
//   - Deliveries are counted, and idle heartbeats say how many the server has made and how far it has looked. If one
//     did not come, or the connection was lost, or the server is silent, the next consumer starts behind the last
//     sequence of the stream that was seen. Nothing is missed, so nothing is flushed.
//   - If the stream does not have that sequence any more, because messages aged out or were purged meanwhile, if it ends
//     before it, was deleted and made again, or has so much more that evicting would take longer than loading
//     ([Config.MaxPending]), that is a gap: the log says why, [Stats].Gaps counts it, the cache is flushed.
//   - A consumer that is behind steps over what the stream drops, without a word. So the stream is looked at each
//     MaxSilent: if its first message lies behind the place where the evictor was at the look before, that is a gap
//     too. A stream that keeps less than two MaxSilent of events is therefore flushed for at each look.
//   - Poison, an event that lacks what a rule needs, evicts what can be made of it and flushes, since nobody knows what
//     else it made stale. It is not dead-lettered here; package invalidate does that. Flushes for poison and tags are
//     done eight times in each Again at most. Markers of parked events mean nothing.
//
// # How old a value can be
//
// While nothing is known to be missing, an old value is gone Again after its event came into the stream, at the latest.
// When the link is dead, or the evictor behind, the cache is flushed MaxSilent after the last moment at which nothing
// was missing, and then each MaxSilent until nothing is again. So an L1 value is never older than an event that
// has been in the stream for
//
//	Again + MaxSilent          (16 s by default)
//
// while this process runs and the callbacks return. An eighth of Again more if many flushes are asked for; twice Again
// where second evictions overflowed. The time before, from the commit to the stream, is the relay's lag. Whoever wants
// less asks [Evictor.Healthy] before each read and goes past the cache while it is false.
//
// Not in this bound: an invalidator that is down or behind. It cleans Redis later than D, and a reader may load the old
// value after the second eviction. And a reader that takes longer than the margin of Again from Redis to this cache,
// unless the cache drops a load whose key is evicted meanwhile, as otter does. For these the time to live of the L1 is
// the last backstop: give every value one, a minute at most.
//
// # Limits
//
// Messages that are removed from the middle of the stream (by subject, one by one, by a limit for each subject, by
// a time to live of their own) while an evictor is away are not noticed; the stream of a relay has none of that. Nor is
// a stream that was put back to an older state under its own name and has grown past the old place before the evictor
// is back.
//
// Events reach the callbacks over a buffer of up to a thousand, which is not counted as being behind: with a slow
// callback, add its time for so many to the bound.
//
// # What it costs
//
// For each instance the server has one consumer, in memory and without replicas, and sends it every event that a rule
// asks for; with n instances the stream is sent n times. At rest an instance makes one pull request each 20 s and
// looks at the stream each 10 s, and the server sends a heartbeat each 2.5 s. Run deletes its consumer; one of a process that was
// killed is gone after 40 s. The server needs no other set-up, but the stream must keep its messages (limits retention).
// Second evictions take memory for Again: at 10,000 keys a second, 60,000 keys.
package local
