package fill

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// spare is how long a member stays in an index after its value has expired: clocks differ.
const spare = 60 * time.Second

// index adds the key to the index of each tag and says whether all took it. The score covers a fill at the last moment of the
// lease; GT keeps that of another reader if it is later.
func (c *Cache[V]) index(ctx context.Context, r request) bool {
	if len(r.tags) == 0 {
		return true
	}
	bound, cancel := c.bound(ctx)
	defer cancel()
	gone := time.Now().Add(c.cfg.Lease + r.ttl + spare)
	pipe := c.rdb.Pipeline()
	for _, tag := range r.tags {
		pipe.ZAddGT(bound, tag, redis.Z{Score: float64(gone.Unix() + 1), Member: r.key})
	}
	replies, err := pipe.Exec(bound)
	if err = replyError(replies, len(r.tags), err); err != nil {
		c.report(ctx, fmt.Errorf("index %q: %w", r.key, err))
	}
	return err == nil
}

// replyError returns the first error of a pipeline, which on a cluster may be that of any command.
func replyError(replies []redis.Cmder, want int, err error) error {
	if err == nil && len(replies) != want {
		err = fmt.Errorf("%d replies for %d commands", len(replies), want)
	}
	for _, reply := range replies {
		if err == nil {
			err = reply.Err()
		}
	}
	return err
}
