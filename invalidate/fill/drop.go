package fill

import (
	"context"
	"fmt"
)

// chunk is how many keys one pipeline deletes at most.
const chunk = 1000

// Drop deletes keys and their tokens, for a writer that wants to read at once what it has just committed: a Get that is
// called after Drop has returned nil, in any process, does not return an older value. It is not needed for that value to go
// away, which the event takes care of, so a caller may ignore the error. It returns [ErrKey] before it deletes
// anything, or an error of Redis after which some keys may be deleted; repeating it is harmless. Each 1000 keys take
// up to [Config.RedisTimeout].
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
		pipe.Unlink(ctx, key, tokens[i]) // both in one slot
	}
	replies, err := pipe.Exec(ctx)
	return replyError(replies, len(keys), err)
}
