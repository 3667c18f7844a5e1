package invalidate

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const (
	scanPage = 1000             // members that one SSCAN or ZSCAN requests
	slowScan = 10 * time.Second // a scan that takes longer is logged
)

// newPacer returns a limiter that spreads deletions evenly over time, in bursts of a twentieth of a second and at most
// scanPage. A negative rate means no limit.
func newPacer(perSecond int) *rate.Limiter {
	if perSecond < 0 {
		return rate.NewLimiter(rate.Inf, scanPage)
	}
	return rate.NewLimiter(rate.Limit(perSecond), min(scanPage, max(1, perSecond/20)))
}

// scan deletes the members of a tag. It starts again after every outage, because a cursor is only valid on the server
// that returned it. It fails only if ctx ends first.
func (c *consumer) scan(ctx context.Context, tag string) error {
	began := time.Now()
	members, kind := 0, ""
	err := c.untilRedisSucceeds(ctx, func() (err error) {
		members, kind, err = c.scanOnce(ctx, tag)
		return err
	})
	if err != nil {
		return err
	}
	c.counters.update(func(s *ConsumerStats) {
		s.Tags++
		s.Members += int64(members)
		if kind == "" {
			s.TagErrors++
		}
		s.LastProgress = time.Now()
	})
	if kind == "" {
		c.log.Warn("tag is neither a SET nor a ZSET in Redis, deleting none of its members", "key", tag)
	}
	if d := time.Since(began); d > slowScan {
		c.log.Info("deleted the members of a large tag", "key", tag, "n", members, "wait", d.Round(time.Millisecond).String())
	}
	return nil
}

// scanOnce deletes the members of a tag and their fill tokens, at most Config.TagRate per second. It returns the number
// of members and the type of the tag, which is "" for a type without members. SSCAN and ZSCAN return every member that
// exists from the beginning to the end of the scan, some of them twice.
func (c *consumer) scanOnce(ctx context.Context, tag string) (members int, kind string, err error) {
	kind, err = c.rdb.Type(ctx, tag).Result()
	switch {
	case err != nil:
		return 0, "", fmt.Errorf("read type of tag: %w", err)
	case kind != "set" && kind != "zset" && kind != "none":
		return 0, "", nil
	case kind == "none":
		return 0, kind, nil
	}
	for cursor := uint64(0); ; {
		var keys []string
		keys, cursor, err = readMembers(ctx, c.rdb, kind, tag, cursor)
		if err != nil {
			return members, kind, fmt.Errorf("scan tag: %w", err)
		}
		members += len(keys)
		if err := c.unlinkPaced(ctx, keys); err != nil {
			return members, kind, err
		}
		if cursor == 0 {
			return members, kind, nil
		}
	}
}

// readMembers reads about scanPage members, and the cursor of the next page; 0 after the last page.
func readMembers(ctx context.Context, rdb redis.UniversalClient, kind, tag string, cursor uint64) ([]string, uint64, error) {
	if kind == "set" {
		return rdb.SScan(ctx, tag, cursor, "", scanPage).Result()
	}
	pairs, cursor, err := rdb.ZScan(ctx, tag, cursor, "", scanPage).Result()
	keys := pairs[:0]
	for i := 0; i < len(pairs); i += 2 { // each member is followed by its score
		keys = append(keys, pairs[i])
	}
	return keys, cursor, err
}

func (c *consumer) unlinkPaced(ctx context.Context, keys []string) error {
	for len(keys) > 0 {
		n := min(len(keys), c.pacer.Burst())
		if err := c.pacer.WaitN(ctx, n); err != nil {
			return err
		}
		if _, _, err := unlink(ctx, c.rdb, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}
