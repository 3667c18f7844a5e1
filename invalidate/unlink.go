package invalidate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/slot"
)

const (
	pipelineKeys = 1000 // maximum number of keys per pipeline: go-redis reads replies only after it wrote all commands
	commandKeys  = 32   // keys per UNLINK, plus their fill tokens, where keys need not share a slot
)

// Now deletes keys and their fill tokens at once, for a service that must read its own write right after the commit. It
// is an optimization: the event in the outbox deletes the same keys again, whether Now succeeds or not. Now waits for
// Redis until ctx ends, so the caller should set a timeout. It is safe for concurrent use.
func Now(ctx context.Context, rdb redis.UniversalClient, keys ...string) error {
	if _, _, err := unlink(ctx, rdb, keys); err != nil {
		return fmt.Errorf("delete now: %w", err)
	}
	return nil
}

// unlink deletes keys together with their fill tokens. It returns how many keys, counted from the front of the list,
// Redis has confirmed, and how many keys and tokens existed. On an error the caller must retry the rest of the list;
// every error counts as an outage.
//
// go-redis repeats a pipeline by itself if the connection broke or Redis was loading its data. Repeating is harmless,
// because a deleted key stays deleted, but the number of keys that existed may then be too small.
func unlink(ctx context.Context, rdb redis.UniversalClient, keys []string) (done, deleted int, err error) {
	for done < len(keys) {
		part := keys[done:min(len(keys), done+pipelineKeys)]
		n, err := unlinkPipeline(ctx, rdb, part)
		if err != nil {
			return done, deleted, err
		}
		done += len(part)
		deleted += n
	}
	return done, deleted, nil
}

// unlinkPipeline deletes keys by one pipeline. A single server or a Sentinel group gets several keys per command, which
// halves the CPU time on both sides. A Redis Cluster rejects a command whose keys are in different slots, so it gets
// one key and its fill token per command; these two always share a slot.
//
// If Redis replies to a command of several keys with an error, the keys of the failed commands are sent again, one per
// command: one of them may be the reason, or a proxy in front of a cluster.
func unlinkPipeline(ctx context.Context, rdb redis.UniversalClient, keys []string) (deleted int, err error) {
	n := 1
	if _, single := rdb.(*redis.Client); single {
		n = commandKeys
	}
	deleted, left, err := unlinkBy(ctx, rdb, n, keys)
	var reply redis.Error
	if n > 1 && errors.As(err, &reply) && len(left) > 0 {
		var more int
		more, _, err = unlinkBy(ctx, rdb, 1, left)
		deleted += more
	}
	if err != nil {
		return 0, fmt.Errorf("unlink %d keys: %w", len(keys), err)
	}
	return deleted, nil
}

// unlinkBy deletes keys, n per command. It returns how many keys and tokens existed, and the keys of every command that
// failed for whatever reason.
func unlinkBy(ctx context.Context, rdb redis.UniversalClient, n int, keys []string) (deleted int, left []string, err error) {
	pipe := rdb.Pipeline()
	for part := range slices.Chunk(keys, n) {
		names := make([]string, 0, 2*len(part))
		for _, key := range part {
			names = append(names, key)
			if token, ok := slot.Token(key); ok {
				names = append(names, token)
			}
		}
		pipe.Unlink(ctx, names...)
	}
	replies, err := execAll(ctx, pipe)
	for i, reply := range replies {
		if reply.Err() != nil {
			left = append(left, keys[i*n:min(i*n+n, len(keys))]...)
		}
		if number, ok := reply.(*redis.IntCmd); ok {
			deleted += int(number.Val())
		}
	}
	return deleted, left, err
}

// execAll runs a pipeline and fails if any of its commands failed; a missing value is no failure. It checks every
// reply, because the error of Exec is only that of the first failed command, and on a cluster each node may return
// another one.
func execAll(ctx context.Context, pipe redis.Pipeliner) ([]redis.Cmder, error) {
	want := pipe.Len()
	replies, err := pipe.Exec(ctx)
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	if err == nil && len(replies) != want {
		err = fmt.Errorf("received %d replies to %d commands", len(replies), want)
	}
	for _, reply := range replies {
		if e := reply.Err(); err == nil && e != nil && !errors.Is(e, redis.Nil) {
			err = e
		}
	}
	return replies, err
}
