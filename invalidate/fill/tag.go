package fill

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// spare is how long a member stays in an index after its value has expired. It covers differences between clocks.
const spare = 60 * time.Second

// index adds the key to the index of each tag and reports whether all of them accepted it. The score covers a fill in the
// last moment of the lease. GT keeps the score that another reader wrote if that is later.
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
		c.report(ctx, fmt.Errorf("add %q to its tag indexes: %w", r.key, err))
	}
	return err == nil
}

// replyError returns the first error of a pipeline. On a cluster any command of the pipeline can have failed.
func replyError(replies []redis.Cmder, want int, err error) error {
	if err == nil && len(replies) != want {
		err = fmt.Errorf("want %d replies, got %d", want, len(replies))
	}
	for _, reply := range replies {
		if err == nil {
			err = reply.Err()
		}
	}
	return err
}
