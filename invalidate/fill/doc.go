// Package fill reads through a cache so that no value older than an event is written into it, and so that one reader
// loads what many ask for. A service that reads imports it in place of GET, SELECT and SETEX:
//
//	users, err := fill.New(rdb, fill.Config[User]{})
//	user, err := users.Get(ctx, "user:42:profile", 5*time.Minute, func(ctx context.Context) (User, error) {
//		return selectUser(ctx, 42)
//	})
//
// # The race that it closes
//
// A reader misses, selects the old row and stalls. The row changes, the key is deleted. The reader goes on and writes
// the old value, which stays until its time to live ends. No delete that comes before that write can prevent it; the
// echo of package invalidate, a second delete some seconds later, repairs it for readers that know nothing of this
// package. This package prevents it.
//
// # The token
//
// The protocol is the lease of memcache at Facebook (Nishtala et al., Scaling Memcache at Facebook, NSDI 2013,
// section 3.2.1). Beside each key lies its token: {key}:f, or key:f if the key has a hash tag, in the same slot of a
// Redis Cluster.
//
//   - Miss: unless the token exists, the reader takes it, for [Config.Lease] at most, and only then loads.
//   - Fill: one script writes the value and deletes the token, if the token is the one that this reader took.
//     Otherwise it writes nothing.
//   - Invalidation: UNLINK key token, by whoever changed the row, after the commit. Package invalidate does that for
//     every key of a rule, [Cache.Drop] for a writer that wants it at once.
//
// A fill is taken only if no invalidation came since before its load began: each deletes the token, and a reader that
// comes later has another token. It fails closed: a token that is gone because the lease ended, Redis evicted it, was
// flushed or restarted empty refuses too. The caller has its value in any case; it is not cached, and the next reader
// loads again.
//
// Whoever finds the token taken waits for the value, up to [Config.WaitMax], and then loads without filling. Thus one
// reader of all processes loads. Within a process those that ask for the same key share one load.
//
// # What a caller gets
//
// Get returns a value that was not stale when Get was called: no UNLINK on its account was done by then. This holds for
// a caller that joins a load under way as well. If the fill of that load is refused, only those whose call came before
// the load take its value; the others ask again.
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
// [Tags] puts the key into an index before the load, a ZSET with the score at which the member may be swept. An
// invalidation of the tag scans the index, unlinks each member and its token, and leaves the index alone. The order
// is token, index, load, fill. Take a scan that follows a commit. If it misses the member, the index was written
// after the scan and the load comes later still: it reads the new row. If it sees the member, it deletes value and
// token, so a fill still under way is refused. Written after the load, the index would leave a gap: load, commit,
// scan, index, fill. If the index cannot be written, there is no fill. A reader that dies in between leaves a member
// without a value, which costs 100 bytes until the sweep.
//
// # Stamps
//
// For a tag with very many members [Stamps] makes the invalidation a single UNLINK, of the stamp: name it under keys
// in a rule. A stamp is a random text in a key of its own, made by the first reader that misses it and kept without
// an expiry. Readers read the stamps together with the value, and before they load; a value counts only if it was
// filled under the same names and stamps. With stamps, and only then, the cached text has a header of [HeaderSize]
// bytes before what the codec made, so a plain GET sees it. Without stamps it is exactly what the codec made. Use a
// key with the same tags and stamps everywhere.
//
// # When Redis fails
//
// Get then loads, still once for the callers of one process, caches nothing and returns no error for it;
// [Config.OnError] and [Stats] tell. It takes up to [Config.RedisTimeout] longer, for want of a breaker here: each
// Get tries.
//
// # Limits
//
// An event deletes the tokens of keys that rules name; who writes Redis without this package (SETEX) is covered by
// the echo only. Not covered by the token, but by package invalidate:
//
//   - a load from a read replica that lags, where the token is taken after the delete and the row is still the old one:
//     by the echo;
//   - a fail-over of Redis, or a restart from an old dump, that brings back a deleted token, value or stamp: by the echo,
//     and the replay after a fail-over.
//
// Not covered by either, and bounded by the ttl only: an index, or a member of it, that is lost while the value
// stays. Eviction does that, so let maxmemory-policy be noeviction or one of volatile-*, since indexes never expire;
// and a fail-over on a Redis Cluster, where an index and its members are on different masters.
//
// Redis 6.2 or later (ZADD GT). Values are limited by Redis to 512 MB, keys as [ErrKey] says.
package fill
