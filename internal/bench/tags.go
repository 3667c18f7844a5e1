package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

func tags() *Scenario {
	return &Scenario{
		Name: "tags", Short: "rate at which the members of a tag are deleted",
		Title:    "one event deletes the members of a tag, without a limit of its rate, against ZSCAN and pipelines of UNLINK",
		needs:    cacheServers,
		defaults: Settings{Runs: 5, Keys: 200_000, Replicas: 1, Window: 8192},
		open: func(_ context.Context, l *lab) (*bout, error) {
			return &bout{arms: []arm{{"ZSCAN, UNLINK", l.tagFloor}, {oursArm, l.tagOurs}}}, nil
		},
	}
}

func (l *lab) tag() string { return l.name + ":tag" }

// fillTag makes a tag with Keys members, all of which exist.
func (l *lab) fillTag(ctx context.Context) error {
	member := func(i int) string { return fmt.Sprintf("%s:m:%d", l.name, i) }
	if err := l.keys.fill(ctx, l.rdb, l.name, keySet{l.set.Keys, member}); err != nil {
		return err
	}
	l.keys.add(l.tag(), keySet{1, func(int) string { return l.tag() }})
	expires := float64(time.Now().Add(keyLife).Unix())
	err := pipelined(ctx, l.rdb, l.set.Keys, func(p redis.Pipeliner, i int) { p.ZAdd(ctx, l.tag(), redis.Z{Score: expires, Member: member(i)}) })
	return errors.Join(err, l.rdb.Expire(ctx, l.tag(), keyLife).Err())
}

func (l *lab) tagFloor(ctx context.Context, m *meter) error {
	if err := l.fillTag(ctx); err != nil {
		return err
	}
	m.start()
	deleted, cursor := 0, uint64(0)
	for {
		page, next, err := l.rdb.ZScan(ctx, l.tag(), cursor, "", 1000).Result()
		if err != nil {
			return fmt.Errorf("scan the tag: %w", err)
		}
		p := l.rdb.Pipeline()
		for i := 0; i < len(page); i += 2 { // each with its score
			p.Unlink(ctx, page[i])
		}
		replies, err := p.Exec(ctx)
		if err != nil && len(page) > 0 {
			return fmt.Errorf("unlink: %w", err)
		}
		for _, reply := range replies {
			deleted += int(reply.(*redis.IntCmd).Val()) //nolint:forcetypeassert // UNLINK has no other
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	m.stop(l.set.Keys)
	return l.emptied(ctx, deleted)
}

func (l *lab) tagOurs(ctx context.Context, m *meter) error {
	if err := l.fillTag(ctx); err != nil {
		return err
	}
	stream, err := l.stream(ctx)
	if err != nil {
		return err
	}
	set, err := rules.Parse("bench", fmt.Appendf(nil, "rules:\n  - subject: %s.>\n    tags: [%q]\n", stream, l.tag()))
	if err != nil {
		return err
	}
	durable := "bench"
	stop, err := l.invalidator(ctx, stream, durable, set, func([]string, time.Time, int) {})
	if err != nil {
		return err
	}
	m.start()
	_, err = l.js.Publish(ctx, stream+".1", nil)
	if err == nil {
		err = until(ctx, runWait, "the members of the tag gone", time.Millisecond, func() (bool, error) { return l.acked(ctx, stream, durable) })
	}
	m.stop(l.set.Keys)
	err = errors.Join(err, stop(), l.js.DeleteStream(ctx, stream))
	if err != nil {
		return err
	}
	return l.emptied(ctx, l.set.Keys)
}

// acked says whether a consumer has acknowledged the one message of its stream, which it does when the tag is done.
func (l *lab) acked(ctx context.Context, stream, durable string) (bool, error) {
	cons, err := l.js.Consumer(ctx, stream, durable)
	if err != nil {
		return false, nil //nolint:nilerr // not made yet
	}
	info := cons.CachedInfo()
	return info.AckFloor.Stream == 1, nil
}

// emptied checks that no member has its value any more, and removes the tag.
func (l *lab) emptied(ctx context.Context, deleted int) error {
	if deleted < l.set.Keys {
		return fmt.Errorf("%d members deleted, want %d", deleted, l.set.Keys)
	}
	left, err := l.rdb.Exists(ctx, l.name+":m:0").Result()
	if err == nil && left > 0 {
		err = errors.New("a member of the tag still has its value")
	}
	return errors.Join(err, l.rdb.Unlink(ctx, l.tag()).Err())
}
