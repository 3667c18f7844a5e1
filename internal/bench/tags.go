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
		Name: "tags", Short: "rate of deleting the members of a tag",
		Title:    "one event deletes the members of a tag without a rate limit, compared with ZSCAN and pipelines of UNLINK",
		needs:    cacheServers,
		defaults: Settings{Runs: 5, Keys: 200_000, Replicas: 1, Window: 8192},
		open: func(_ context.Context, s *session) (*comparison, error) {
			return &comparison{arms: []arm{{"ZSCAN, UNLINK", s.tagFloor}, {oursArm, s.tagOurs}}}, nil
		},
	}
}

func (s *session) tag() string { return s.name + ":tag" }

// fillTag creates a tag with Settings.Keys members, and their keys.
func (s *session) fillTag(ctx context.Context) error {
	member := func(i int) string { return fmt.Sprintf("%s:m:%d", s.name, i) }
	if err := s.keys.fill(ctx, s.rdb, s.name, keySet{s.set.Keys, member}); err != nil {
		return err
	}
	s.keys.add(s.tag(), keySet{1, func(int) string { return s.tag() }})
	expires := float64(time.Now().Add(keyTTL).Unix())
	err := pipelined(ctx, s.rdb, s.set.Keys, func(p redis.Pipeliner, i int) { p.ZAdd(ctx, s.tag(), redis.Z{Score: expires, Member: member(i)}) })
	return errors.Join(err, s.rdb.Expire(ctx, s.tag(), keyTTL).Err())
}

func (s *session) tagFloor(ctx context.Context, m *meter) error {
	if err := s.fillTag(ctx); err != nil {
		return err
	}
	m.start()
	deleted, cursor := 0, uint64(0)
	for {
		page, next, err := s.rdb.ZScan(ctx, s.tag(), cursor, "", 1000).Result()
		if err != nil {
			return fmt.Errorf("scan the tag: %w", err)
		}
		p := s.rdb.Pipeline()
		for i := 0; i < len(page); i += 2 { // a score follows each member
			p.Unlink(ctx, page[i])
		}
		if len(page) > 0 {
			existed, err := unlinked(p.Exec(ctx))
			if err != nil {
				return err
			}
			deleted += existed
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	m.stop(s.set.Keys)
	return s.checkTag(ctx, deleted)
}

func (s *session) tagOurs(ctx context.Context, m *meter) error {
	if err := s.fillTag(ctx); err != nil {
		return err
	}
	stream, err := s.newStream(ctx)
	if err != nil {
		return err
	}
	set, err := rules.Parse("bench", fmt.Appendf(nil, "rules:\n  - subject: %s.>\n    tags: [%q]\n", stream, s.tag()))
	if err != nil {
		return err
	}
	durable := "bench"
	stop, err := s.startInvalidator(ctx, stream, durable, set, func([]string, time.Time, int) {})
	if err != nil {
		return err
	}
	m.start()
	_, err = s.js.Publish(ctx, stream+".1", nil)
	if err == nil {
		err = until(ctx, runTimeout, "the ack of the event", time.Millisecond, func() (bool, error) { return s.isAcked(ctx, stream, durable) })
	}
	m.stop(s.set.Keys)
	err = errors.Join(err, stop(), s.js.DeleteStream(ctx, stream))
	if err != nil {
		return err
	}
	return s.checkTag(ctx, s.set.Keys)
}

// isAcked reports whether a consumer has acknowledged the only message of its stream. It does so after deleting the members.
func (s *session) isAcked(ctx context.Context, stream, durable string) (bool, error) {
	cons, err := s.js.Consumer(ctx, stream, durable)
	if err != nil {
		return false, nil //nolint:nilerr // the invalidator has not created it yet
	}
	info := cons.CachedInfo()
	return info.AckFloor.Stream == 1, nil
}

// checkTag returns an error unless the members were deleted, and removes the tag.
func (s *session) checkTag(ctx context.Context, deleted int) error {
	if deleted < s.set.Keys {
		return fmt.Errorf("%d members deleted, want %d", deleted, s.set.Keys)
	}
	left, err := s.rdb.Exists(ctx, s.name+":m:0").Result()
	if err == nil && left > 0 {
		err = errors.New("a member of the tag still exists")
	}
	return errors.Join(err, s.rdb.Unlink(ctx, s.tag()).Err())
}
