package invalidate

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/slot"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// chunk is how many commands one pipeline carries at most: replies are read only after all was written.
const chunk = 1000

// Now deletes keys, and the fill tokens beside them, at once: for a service that wants to read its own write right after
// the commit. It is a favour, not the guarantee: whether it succeeds or not, the event in the outbox does the same
// again. It waits for Redis as long as ctx allows, and should be given a timeout. Safe for concurrent use.
func Now(ctx context.Context, rdb redis.UniversalClient, keys ...string) error {
	if _, _, err := unlink(ctx, rdb, keys); err != nil {
		return fmt.Errorf("delete now: %w", err)
	}
	return nil
}

// unlink deletes keys, each in the same command as the fill token beside it. A command with several keys is refused by a
// Redis Cluster unless they share a slot, and these two do; a server alone takes many, which costs it and us half as much. It
// returns how many keys from the front of the list Redis has said yes to, and how many keys and tokens existed. Every error is
// an outage: nothing about a key itself can be refused, WRONGTYPE included, so the answer is to wait and ask again for the rest.
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

// together is how many keys, and the tokens beside them, one UNLINK names where they need not share a slot.
const together = 32

func unlinkChunk(ctx context.Context, rdb redis.UniversalClient, keys []string) (deleted int, err error) {
	n := 1
	if _, alone := rdb.(*redis.Client); alone {
		n = together
	}
	deleted, left, err := unlinkBy(ctx, rdb, n, keys)
	var answer redis.Error
	if n > 1 && errors.As(err, &answer) && len(left) > 0 { // one key may be the reason, or slots behind a proxy
		var more int
		more, _, err = unlinkBy(ctx, rdb, 1, left)
		deleted += more
	}
	if err != nil {
		return 0, fmt.Errorf("unlink %d keys: %w", len(keys), err)
	}
	return deleted, nil
}

// unlinkBy deletes keys by n in a command. Left are those of every command that failed, whatever the reason.
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

// execAll runs a pipeline, and fails if any of its commands did, but for values that are not there. The error of Exec is
// that of the first command that has one; on a cluster others may have their own.
func execAll(ctx context.Context, pipe redis.Pipeliner) ([]redis.Cmder, error) {
	want := pipe.Len()
	replies, err := pipe.Exec(ctx)
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	if err == nil && len(replies) != want {
		err = fmt.Errorf("%d replies for %d commands", len(replies), want)
	}
	for _, reply := range replies {
		if e := reply.Err(); err == nil && e != nil && !errors.Is(e, redis.Nil) {
			err = e
		}
	}
	return replies, err
}

// outdated returns the keys whose values are not, or not provably, at least as new as they have to be. A value that is
// written between this look and the deletion is deleted with the rest, which costs a miss.
func outdated(ctx context.Context, rdb redis.UniversalClient, checks []rules.Deletion) (keys []string, err error) {
	for len(checks) > 0 {
		part := checks[:min(len(checks), chunk)]
		checks = checks[len(part):]
		pipe := rdb.Pipeline()
		for i := range part {
			look(ctx, pipe, &part[i])
		}
		replies, err := pipe.Exec(ctx)
		if len(replies) != len(part) {
			return nil, fmt.Errorf("read versions: %d replies for %d commands: %w", len(replies), len(part), err)
		}
		for i, reply := range replies {
			value, err := reply.(*redis.StringCmd).Bytes()
			if err != nil && !isReply(err) {
				return nil, fmt.Errorf("read versions: %w", err)
			}
			if err != nil || !isNew(&part[i], value) { // a value that is not there may have a fill token
				keys = append(keys, part[i].Key)
			}
		}
	}
	return keys, nil
}

func look(ctx context.Context, pipe redis.Pipeliner, d *rules.Deletion) {
	if d.Version.Field != "" {
		pipe.HGet(ctx, d.Key, d.Version.Field)
		return
	}
	pipe.Get(ctx, d.Key)
}

// isNew says whether a value is at least as new as it has to be, and shows it.
func isNew(d *rules.Deletion, value []byte) bool {
	if d.Due == "" {
		return false
	}
	version, err := d.Version.Of(value)
	if err != nil {
		return false
	}
	newer, err := rules.Newer(version, d.Due)
	return err == nil && newer
}

// isReply says whether an error is the answer of Redis to one command about one key (it is of another type, or the user
// may not read it), so that the key can be deleted all the same.
func isReply(err error) bool {
	return errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "NOPERM")
}
