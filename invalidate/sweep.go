package invalidate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

// A Sweep takes members out of tags whose values are gone: invalidating leaves them there, and values expire. Without it a
// tag grows with every key that was ever in it.
//
// A ZSET has each member's expiry as its score, in seconds since 1970, some time later than that of its value (package
// fill writes a minute more). Members whose time is over are removed by score, which cannot meet a client that fills one
// again: that raises its score.
//
// A SET does not say. A member without a value is looked at again after Grace; if there is none still, it is removed, and put
// back if its value appeared at the same moment. What remains: a client that adds the member first, and writes the value
// after we have looked for it the last time, a millisecond later or so, is not in the tag. So clients should write the
// value first; or use a ZSET.
type Sweep struct {
	// Redis is the server, the cluster, or the master that sentinels name. Required.
	Redis redis.UniversalClient
	// Tags are names, Match glob-style patterns of names, as in SCAN. At least one of them is required. A ZSET whose
	// scores are something else than times loses members: name only tags.
	Tags, Match []string
	// DryRun removes nothing.
	DryRun bool
	// Rate is how many members of SETs may be looked at in a second, and of ZSETs removed. Defaults to 20,000; negative
	// is without limit.
	Rate int
	// Grace is how long a value of a SET's member has to be gone. Defaults to 10 s.
	Grace time.Duration
	// Progress, if set, is called after each page, by the goroutine in Run.
	Progress func(Swept)
}

// Swept is what a sweep did, or with DryRun would have done.
type Swept struct {
	Tags     int   `json:"tags"`     // looked at
	Members  int64 `json:"members"`  // that they had
	Removed  int64 `json:"removed"`  // of these, since their values are gone
	Restored int64 `json:"restored"` // of these, put back: their values appeared
	Other    int   `json:"other"`    // keys that are neither SET nor ZSET
}

// graceMembers is how many members without a value may wait for a second look: what a sweep keeps in memory.
const graceMembers = 100_000

// Run sweeps every tag once. It may be run again, and by several at a time; what it did when it fails is done.
func (s Sweep) Run(ctx context.Context) (Swept, error) {
	if s.Redis == nil || len(s.Tags)+len(s.Match) == 0 {
		return Swept{}, errors.New("sweep: Redis and Tags or Match are required")
	}
	def(&s.Rate, 20_000)
	def(&s.Grace, 10*time.Second)
	w := &sweeper{Sweep: s, pacer: newPacer(s.Rate), seen: make(map[string]struct{})}
	err := w.run(ctx)
	if err != nil {
		err = fmt.Errorf("sweep: %w", err)
	}
	return w.swept, err
}

// A sweeper is one run. It belongs to the goroutine in Run, but for names.
type sweeper struct {
	Sweep
	pacer *rate.Limiter
	swept Swept

	mu   sync.Mutex
	seen map[string]struct{} // tags that were swept: a scan may name one twice
}

func (w *sweeper) run(ctx context.Context) error {
	for _, tag := range w.Tags {
		if err := w.tag(ctx, tag); err != nil {
			return err
		}
	}
	for _, pattern := range w.Match {
		names, err := w.names(ctx, pattern)
		if err != nil {
			return err
		}
		for _, tag := range names {
			if err := w.tag(ctx, tag); err != nil {
				return err
			}
		}
	}
	return nil
}

// names returns the tags that match, of all masters.
func (w *sweeper) names(ctx context.Context, pattern string) (names []string, err error) {
	scan := func(ctx context.Context, client *redis.Client) error {
		for _, kind := range []string{"set", "zset"} {
			keys := client.ScanType(ctx, 0, pattern, page, kind).Iterator()
			for keys.Next(ctx) {
				w.mu.Lock()
				names = append(names, keys.Val())
				w.mu.Unlock()
			}
			if err := keys.Err(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := eachMaster(ctx, w.Redis, scan); err != nil {
		return nil, fmt.Errorf("look for tags: %w", err)
	}
	return names, nil
}

// eachMaster asks every master, of a cluster several at a time.
func eachMaster(ctx context.Context, rdb redis.UniversalClient, ask func(context.Context, *redis.Client) error) error {
	switch client := rdb.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, ask)
	case *redis.Ring:
		return client.ForEachShard(ctx, ask)
	case *redis.Client:
		return ask(ctx, client)
	}
	return fmt.Errorf("unknown kind of client %T", rdb)
}

func (w *sweeper) tag(ctx context.Context, tag string) error {
	if _, again := w.seen[tag]; again {
		return nil
	}
	w.seen[tag] = struct{}{}
	kind, err := w.Redis.Type(ctx, tag).Result()
	if err != nil {
		return fmt.Errorf("look up tag %q: %w", tag, err)
	}
	w.swept.Tags++
	switch kind {
	case "zset":
		err = w.scored(ctx, tag)
	case "set":
		err = w.plain(ctx, tag)
	case "none":
	default:
		w.swept.Other++
	}
	if err != nil {
		return fmt.Errorf("tag %q: %w", tag, err)
	}
	w.tell()
	return nil
}

func (w *sweeper) tell() {
	if w.Progress != nil {
		w.Progress(w.swept)
	}
}

// scored removes the members of a ZSET whose time is over, a page after the other, up to a score: what has that one too
// goes with it.
func (w *sweeper) scored(ctx context.Context, tag string) error {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	members, err := w.Redis.ZCard(ctx, tag).Result()
	if err != nil {
		return fmt.Errorf("count members: %w", err)
	}
	w.swept.Members += members
	if w.DryRun {
		n, err := w.Redis.ZCount(ctx, tag, "-inf", now).Result()
		if err != nil {
			return fmt.Errorf("count members: %w", err)
		}
		w.swept.Removed += n
		return nil
	}
	for {
		if err := w.pacer.WaitN(ctx, w.pacer.Burst()); err != nil {
			return err
		}
		to := now
		last, err := w.Redis.ZRangeArgsWithScores(ctx, redis.ZRangeArgs{
			Key: tag, Start: "-inf", Stop: now, ByScore: true, Offset: int64(w.pacer.Burst() - 1), Count: 1,
		}).Result()
		if err != nil {
			return fmt.Errorf("read members: %w", err)
		}
		if len(last) > 0 {
			to = strconv.FormatFloat(last[0].Score, 'g', 17, 64)
		}
		n, err := w.Redis.ZRemRangeByScore(ctx, tag, "-inf", to).Result()
		if err != nil {
			return fmt.Errorf("remove members: %w", err)
		}
		w.swept.Removed += n
		w.tell()
		if len(last) == 0 {
			return nil
		}
	}
}
