package invalidate

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// outdated reads the versions of values and returns the keys whose value is older than required, or whose version
// cannot be read or compared. A key without a value is returned too, because it may have a fill token. A value that is
// written between this read and the deletion is deleted as well, which costs one cache miss.
func outdated(ctx context.Context, rdb redis.UniversalClient, versioned []rules.Deletion) (keys []string, err error) {
	for len(versioned) > 0 {
		part := versioned[:min(len(versioned), pipelineKeys)]
		versioned = versioned[len(part):]
		pipe := rdb.Pipeline()
		for i := range part {
			queueVersionRead(ctx, pipe, &part[i])
		}
		replies, err := pipe.Exec(ctx)
		if len(replies) != len(part) {
			return nil, fmt.Errorf("read versions: received %d replies to %d commands: %w", len(replies), len(part), err)
		}
		for i, reply := range replies {
			value, err := reply.(*redis.StringCmd).Bytes()
			if err != nil && !aboutKey(err) {
				return nil, fmt.Errorf("read versions: %w", err)
			}
			if err != nil || !isNewEnough(&part[i], value) {
				keys = append(keys, part[i].Key)
			}
		}
	}
	return keys, nil
}

// queueVersionRead adds to a pipeline the command that reads the part of a value that contains its version.
func queueVersionRead(ctx context.Context, pipe redis.Pipeliner, d *rules.Deletion) {
	if d.Version.Field != "" {
		pipe.HGet(ctx, d.Key, d.Version.Field)
		return
	}
	pipe.Get(ctx, d.Key)
}

// isNewEnough reports whether a value has a readable version that is at least the required one.
func isNewEnough(d *rules.Deletion, value []byte) bool {
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

// aboutKey reports whether an error is the reply of Redis about a single key: it has no value, it has another type, or
// the user may not read it. Such a key can be deleted all the same.
func aboutKey(err error) bool {
	return errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "NOPERM")
}
