package invalidate

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// chunk is how many commands one pipeline carries at most: replies are read only after all was written.
const chunk = 1000

// unlink deletes keys, one UNLINK each: a command with several keys is refused by a Redis Cluster unless
// they share a slot. It returns how many keys from the front of the list Redis has said yes to, and how
// many of those existed. Every error is an outage: nothing about a key itself can be refused, WRONGTYPE
// included, so the answer is to wait and ask again for the rest.
//
// go-redis sends a pipeline again by itself when the connection broke under it or Redis was loading. That is
// harmless, as it is to ask twice in general: a key that is gone stays gone. Only the count of those that
// existed may come out too small.
func unlink(ctx context.Context, rdb redis.UniversalClient, keys []string) (done, deleted int, err error) {
	for done < len(keys) {
		part := keys[done:min(len(keys), done+chunk)]
		n, err := unlinkChunk(ctx, rdb, part)
		if err != nil {
			return done, deleted, err
		}
		done += len(part)
		deleted += n
	}
	return done, deleted, nil
}

func unlinkChunk(ctx context.Context, rdb redis.UniversalClient, keys []string) (deleted int, err error) {
	pipe := rdb.Pipeline()
	for _, key := range keys {
		pipe.Unlink(ctx, key)
	}
	// The error of Exec is that of the first command that has one; on a cluster others may have their own.
	replies, err := pipe.Exec(ctx)
	if err == nil && len(replies) != len(keys) {
		err = fmt.Errorf("%d replies for %d commands", len(replies), len(keys))
	}
	for _, reply := range replies {
		if err == nil {
			err = reply.Err()
		}
		if n, ok := reply.(*redis.IntCmd); ok {
			deleted += int(n.Val())
		}
	}
	if err != nil {
		return 0, fmt.Errorf("unlink %d keys: %w", len(keys), err)
	}
	return deleted, nil
}
