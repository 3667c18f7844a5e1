package fill

import (
	"context"
	"fmt"
)

// chunk is the largest number of keys that one pipeline deletes.
const chunk = 1000

// Drop deletes keys and their tokens, for a writer that must read its own commit at once: a Get that any process calls
// after Drop has returned nil returns no older value. Without Drop the value is deleted too, when its event arrives, so a
// caller may ignore the error.
//
// Drop returns [ErrKey] before it deletes anything, or an error of Redis, after which some of the keys may be deleted. It
// is safe to repeat. Each 1000 keys take at most [Config.RedisTimeout].
func (c *Cache[V]) Drop(ctx context.Context, keys ...string) error {
	tokens := make([]string, len(keys))
	for i, key := range keys {
		var err error
		if tokens[i], err = tokenOf(key); err != nil {
			return fmt.Errorf("drop keys: %w", err)
		}
	}
	for from := 0; from < len(keys); from += chunk {
		to := min(from+chunk, len(keys))
		if err := c.unlink(ctx, keys[from:to], tokens[from:to]); err != nil {
			return fmt.Errorf("drop keys: %w", err)
		}
	}
	return nil
}

func (c *Cache[V]) unlink(ctx context.Context, keys, tokens []string) error {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	pipe := c.rdb.Pipeline()
	for i, key := range keys {
		pipe.Unlink(ctx, key, tokens[i]) // both are in one slot
	}
	replies, err := pipe.Exec(ctx)
	return replyError(replies, len(keys), err)
}
