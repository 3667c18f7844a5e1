package invalidate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

// A Sweep removes members without a value from tags. Invalidating a tag keeps its members, and values expire, so
// without a sweep a tag grows with every key that was ever added to it.
//
// In a ZSET the score of a member is its expiry in Unix seconds, some time after that of its value (package fill adds a
// minute). A sweep removes members by score when their time is over. It cannot remove a member that a client fills
// again at the same time, because that raises the score.
//
// A SET has no such score. A sweep reads a member without a value a second time after Grace, removes it if there is
// still no value, and adds it again if a value appeared during the removal. One race remains: a client that adds the
// member first and writes the value later, just after the last read of the sweep, has a value that is not in the tag.
// So clients of a SET should write the value before the membership, or use a ZSET.
type Sweep struct {
	// Redis is a client of a single server, of a cluster, or of the master that Sentinel names. Required.
	Redis redis.UniversalClient
	// Tags are names of tags, and Match are glob-style patterns of names, as in SCAN. At least one of them is required.
	// Both must name only tags: a ZSET whose scores are not times loses members.
	Tags, Match []string
	// DryRun counts what a sweep would do and removes nothing.
	DryRun bool
	// Rate limits how many members of SETs are read, and how many members of ZSETs are removed, per second. Negative
	// means no limit. Defaults to 20,000.
	Rate int
	// Grace is how long a member of a SET must have been without a value. Defaults to 10 s.
	Grace time.Duration
	// Progress, if set, is called after each page by the goroutine in Run.
	Progress func(Swept)
}

// Swept counts what a sweep did, or with DryRun would have done.
type Swept struct {
	Tags     int   `json:"tags"`     // tags that were read
	Members  int64 `json:"members"`  // members that they had
	Removed  int64 `json:"removed"`  // members removed because their values were gone
	Restored int64 `json:"restored"` // members added again because a value appeared; not part of Removed
	Other    int   `json:"other"`    // keys that are neither a SET nor a ZSET
}

// graceMembers is how many members without a value may wait for their second read. It limits the memory of a sweep.
const graceMembers = 100_000

// Run sweeps every tag once. Several processes may run sweeps of the same tags at the same time. If Run returns an
// error, the returned counts describe what it had done by then; running it again is safe.
func (s Sweep) Run(ctx context.Context) (Swept, error) {
	if s.Redis == nil || len(s.Tags)+len(s.Match) == 0 {
		return Swept{}, errors.New("sweep: missing Redis client, or Tags and Match")
	}
	s.Rate = cmp.Or(s.Rate, 20_000)
	s.Grace = cmp.Or(s.Grace, 10*time.Second)
	w := &sweeper{Sweep: s, pacer: newPacer(s.Rate), seen: make(map[string]struct{})}
	err := w.run(ctx)
	if err != nil {
		err = fmt.Errorf("sweep: %w", err)
	}
	return w.swept, err
}

// A sweeper is one run of a Sweep. It belongs to the goroutine in Run, except that names runs on several.
type sweeper struct {
	Sweep
	pacer *rate.Limiter
	swept Swept
	seen  map[string]struct{} // tags that were swept: a scan may return a name twice
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

// names returns the tags of all masters that match a pattern.
func (w *sweeper) names(ctx context.Context, pattern string) (names []string, err error) {
	var mu sync.Mutex // of names: the masters of a cluster are scanned concurrently
	scan := func(ctx context.Context, client *redis.Client) error {
		for _, kind := range []string{"set", "zset"} {
			keys := client.ScanType(ctx, 0, pattern, scanPage, kind).Iterator()
			for keys.Next(ctx) {
				mu.Lock()
				names = append(names, keys.Val())
				mu.Unlock()
			}
			if err := keys.Err(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := eachMaster(ctx, w.Redis, scan); err != nil {
		return nil, fmt.Errorf("list tags: %w", err)
	}
	return names, nil
}

func (w *sweeper) tag(ctx context.Context, tag string) error {
	if _, again := w.seen[tag]; again {
		return nil
	}
	w.seen[tag] = struct{}{}
	kind, err := w.Redis.Type(ctx, tag).Result()
	if err != nil {
		return fmt.Errorf("read type of tag %q: %w", tag, err)
	}
	w.swept.Tags++
	switch kind {
	case "zset":
		err = w.sweepZset(ctx, tag)
	case "set":
		err = w.sweepSet(ctx, tag)
	case "none":
	default:
		w.swept.Other++
	}
	if err != nil {
		return fmt.Errorf("tag %q: %w", tag, err)
	}
	w.report()
	return nil
}

func (w *sweeper) report() {
	if w.Progress != nil {
		w.Progress(w.swept)
	}
}

// sweepZset removes the members of a ZSET whose time is over, one page after another. A page ends at a score; all
// members with that score are part of it.
func (w *sweeper) sweepZset(ctx context.Context, tag string) error {
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
		w.report()
		if len(last) == 0 {
			return nil
		}
	}
}
