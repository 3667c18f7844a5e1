// Package fill reads through a cache in Redis. It ensures that no value older than an event is written into the cache, and
// that one reader loads what many ask for. A service imports it in place of GET, SELECT and SETEX:
//
//	users, err := fill.New(rdb, fill.Config[User]{})
//	user, err := users.Get(ctx, "user:42:profile", 5*time.Minute, func(ctx context.Context) (User, error) {
//		return selectUser(ctx, 42)
//	})
//
// # The race that it closes
//
// A reader misses, selects the old row and stalls. The row changes, the key is deleted. The reader continues and writes
// the old value, which stays until its time to live ends. No delete that comes before that write can prevent it. The echo
// of package invalidate, a second delete some seconds later, repairs it for readers that do not use this package. This
// package prevents it.
//
// # The token
//
// The protocol is the lease of memcache at Facebook (Nishtala et al., Scaling Memcache at Facebook, NSDI 2013,
// section 3.2.1). Each key has a token: the key {key}:f, or key:f if the key has a hash tag, in the same slot of a Redis
// Cluster.
//
//   - Miss: the reader takes the token unless it exists, for at most [Config.Lease], and only then loads.
//   - Fill: one script writes the value and deletes the token, if the token is the one that this reader took.
//     Otherwise it writes nothing.
//   - Invalidation: UNLINK key token, after the commit that changed the row. Package invalidate does that for each key
//     of a rule; a writer that must read its own commit at once calls [Cache.Drop].
//
// Redis accepts a fill only if no invalidation has come since before its load began: each invalidation deletes the token,
// and a reader that comes later has another token. The protocol fails closed: a token that is gone because the lease
// ended, or because Redis evicted it, was flushed or restarted empty, refuses the fill too. The caller has its value in
// any case; the value is not cached, and the next reader loads again.
//
// A reader that finds the token taken waits for the value, up to [Config.WaitMax], and then loads without filling. So one
// reader of all processes loads. Within a process, the callers that ask for the same key share one load.
//
// # What a caller gets
//
// Get returns a value that was not stale when Get was called: every invalidation that was complete by then had come before
// the load of that value. This holds for a caller that joins a running load as well. If the fill of that load is refused,
// only the callers that came before the load take its value; the others ask again.
//
// # Why no Redlock
//
// The token keeps readers from doing the same work, and for that one Redis is enough: if two hold a token after a
// fail-over, two load. Correctness does not rest on holding it. It rests on the compare in the fill, where the data
// is: what Kleppmann (How to do distributed locking, 2016) calls fencing, and what the page of Redis on distributed
// locks tells users of Redlock to add. With the compare Redlock adds nothing, and without it, it does not help a
// reader that stalls for longer than its lease.
//
// # Tags
//
// [Tags] puts the key into an index before the load: a ZSET whose score is the time from which the member may be swept. An
// invalidation of the tag scans the index, unlinks each member and its token, and leaves the index alone. The order
// is token, index, load, fill. Take a scan that follows a commit. If it misses the member, the index was written
// after the scan and the load comes later still: it reads the new row. If it sees the member, it deletes value and
// token, so a fill still under way is refused. Written after the load, the index would leave a gap: load, commit,
// scan, index, fill. If the index cannot be written, there is no fill. A reader that dies in between leaves a member
// without a value, which costs 100 bytes until the sweep.
//
// # Stamps
//
// For a tag with very many members, [Stamps] makes the invalidation a single UNLINK, of the stamp: name it under keys
// in a rule. A stamp is a random text in a key of its own, created by the first reader that misses it and kept without
// an expiry. Readers read the stamps together with the value, and before they load; a value is valid only if it was
// filled under the same names and stamps. With stamps, and only then, the cached text has a header of [HeaderSize]
// bytes before the text of the codec, so a plain GET sees it. Without stamps the cached text is exactly what the codec
// made. Every reader of a key must use the same tags and stamps.
//
// # When Redis fails
//
// Get then loads, still once for the callers of one process, caches nothing and returns no error for it;
// [Config.OnError] receives the error and [Stats] counts it. Such a call takes up to [Config.RedisTimeout] longer, because
// there is no circuit breaker: each Get tries Redis.
//
// # Limits
//
// An event deletes the tokens of the keys that rules name. A reader that writes Redis without this package (SETEX) is
// covered by the echo only. The token does not cover, but package invalidate does:
//
//   - a load from a read replica that lags, when the token is taken after the delete and the replica still has the old
//     row: covered by the echo;
//   - a fail-over of Redis, or a restart from an old dump, that restores a deleted token, value or stamp: covered by the
//     echo, and by the redelivery window after a fail-over.
//
// Neither covers an index, or a member of it, that is lost while the value stays: only the ttl bounds that. Eviction causes
// it, so set maxmemory-policy to noeviction or one of volatile-*, because indexes never expire. So does a fail-over on a
// Redis Cluster, where an index and its members are on different masters.
//
// The package requires Redis 6.2 or later (ZADD GT). Redis limits values to 512 MB; [ErrKey] lists the limits of keys.
package fill
