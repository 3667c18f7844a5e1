package invalidate

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const (
	page     = 1000             // members that one look into a tag asks for
	slowScan = 10 * time.Second // a scan that takes longer is worth a line in the log
)

// newPacer spreads deletions evenly over time: in bursts of a twentieth of a second.
func newPacer(perSecond int) *rate.Limiter {
	if perSecond < 0 {
		return rate.NewLimiter(rate.Inf, page)
	}
	return rate.NewLimiter(rate.Limit(perSecond), min(page, max(1, perSecond/20)))
}

// scan deletes the members of a tag. After every outage it begins again: another server has another order. It fails
// only when ctx ends before it is done.
func (l *lane) scan(ctx context.Context, tag string) error {
	began := time.Now()
	members, kind := 0, ""
	err := l.insist(ctx, func() (err error) {
		members, kind, err = l.scanOnce(ctx, tag)
		return err
	})
	if err != nil {
		return err
	}
	l.stats.update(func(s *Lane) {
		s.Tags++
		s.Members += int64(members)
		if kind == "" {
			s.TagErrors++
		}
		s.LastProgress = time.Now()
	})
	if kind == "" {
		l.log.Warn("a tag of the rules is neither a SET nor a ZSET in redis, its members are not known", "key", tag)
	}
	if d := time.Since(began); d > slowScan {
		l.log.Info("deleted the members of a large tag", "key", tag, "n", members, "wait", d)
	}
	return nil
}

// scanOnce deletes the members of a tag, and the fill tokens beside them, at most as many a second as configured. It
// returns how many there were, and the type of the tag, "" for one that has no members. SSCAN and ZSCAN return every
// member that is there from the beginning to the end of the scan, some of them twice.
func (l *lane) scanOnce(ctx context.Context, tag string) (members int, kind string, err error) {
	kind, err = l.rdb.Type(ctx, tag).Result()
	switch {
	case err != nil:
		return 0, "", fmt.Errorf("look up tag: %w", err)
	case kind != "set" && kind != "zset" && kind != "none":
		return 0, "", nil
	case kind == "none":
		return 0, kind, nil
	}
	for cursor := uint64(0); ; {
		var keys []string
		keys, cursor, err = readMembers(ctx, l.rdb, kind, tag, cursor)
		if err != nil {
			return members, kind, fmt.Errorf("scan tag: %w", err)
		}
		members += len(keys)
		if err := l.unlinkPaced(ctx, keys); err != nil {
			return members, kind, err
		}
		if cursor == 0 {
			return members, kind, nil
		}
	}
}

// readMembers reads about a page of members, and where the next one begins; 0 after the last.
func readMembers(ctx context.Context, rdb redis.UniversalClient, kind, tag string, cursor uint64) ([]string, uint64, error) {
	if kind == "set" {
		return rdb.SScan(ctx, tag, cursor, "", page).Result()
	}
	pairs, cursor, err := rdb.ZScan(ctx, tag, cursor, "", page).Result()
	keys := pairs[:0]
	for i := 0; i < len(pairs); i += 2 { // each is followed by its score
		keys = append(keys, pairs[i])
	}
	return keys, cursor, err
}

func (l *lane) unlinkPaced(ctx context.Context, keys []string) error {
	for len(keys) > 0 {
		n := min(len(keys), l.pacer.Burst())
		if err := l.pacer.WaitN(ctx, n); err != nil {
			return err
		}
		if _, _, err := unlink(ctx, l.rdb, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}
