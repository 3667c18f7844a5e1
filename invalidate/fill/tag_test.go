package fill_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// A script runs the acts of an invalidator between the steps of one Get, each act before the step of its number.
type script struct {
	steps []string // the steps seen so far
	acts  map[int][]func()
}

func (s *script) step(name string) {
	for _, act := range s.acts[len(s.steps)] {
		act()
	}
	s.steps = append(s.steps, name)
}

// play runs one Get. It runs acts[i] before the step at[i], or after the last step, and returns the steps.
func play(t *testing.T, key string, opts []fill.Option, users *row, at []int, acts ...func()) []string {
	t.Helper()
	rdb, tp := tapped(t)
	s := &script{acts: map[int][]func(){}}
	for i, act := range acts {
		s.acts[at[i]] = append(s.acts[at[i]], act)
	}
	tp.on(func(step string, _ []redis.Cmder) { s.step(step) })
	c := newTexts(t, rdb, fill.Config[string]{})
	_, err := c.Get(t.Context(), key, ttl, func(context.Context) (string, error) {
		s.step("select")
		text := users.text()
		s.step("selected")
		return text, nil
	}, opts...)
	fatal(t, err)
	seen := s.steps
	for n := len(seen); n <= 10; n++ { // runs the acts after the last step
		s.step("later")
	}
	return seen
}

// A commit, the scan of a tag and the UNLINK of its members come between any steps of a reader: no old value stays.
func TestTagScanBetweenSteps(t *testing.T) {
	t.Parallel()
	plain, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	var steps []string
	orders := 0
	for commit := 0; commit == 0 || commit <= len(steps); commit++ {
		for scan := commit; scan == commit || scan <= len(steps); scan++ {
			for del := scan; del == scan || del <= len(steps); del++ {
				orders++
				key, tag, users := fmt.Sprintf("%sk%d", prefix, orders), fmt.Sprintf("%stag%d", prefix, orders), new(row)
				var members []string
				steps = play(t, key, []fill.Option{fill.Tags(tag)}, users, []int{commit, scan, del},
					func() { users.version.Add(1) },
					func() { members = plain.ZRange(t.Context(), tag, 0, -1).Val() },
					func() { unlink(t, plain, members...) })
				if text := cached(t, plain, key); text != "" && text != "v1" {
					t.Errorf("steps %v: commit before %d, scan before %d, unlink before %d: cached %q", steps, commit, scan, del, text)
				}
			}
		}
	}
	if got := fmt.Sprint(steps); got != "[get miss zadd select selected fill]" || orders != 84 {
		t.Errorf("%d orders, steps %s", orders, got)
	}
}

// The key stays a member of each tag until a minute after the latest moment at which its value can expire.
func TestTagIndex(t *testing.T) {
	t.Parallel()
	rdb, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	key, tags := prefix+"k", []string{prefix + "one", prefix + "two"}
	c := newTexts(t, rdb, fill.Config[string]{Lease: 10 * time.Second})
	for _, ttl := range []time.Duration{time.Hour, time.Minute} { // the shorter one does not lower the score
		_, err := c.Get(t.Context(), key, ttl, new(row).load, fill.Tags(tags...), fill.Tags())
		fatal(t, err)
		least := time.Now().Add(time.Hour + time.Minute).Unix()
		for _, tag := range tags {
			score, err := rdb.ZScore(t.Context(), tag, key).Result()
			if err != nil || int64(score) < least || int64(score) > least+15 {
				t.Errorf("%s: score %.0f, %v, want %d to 15 s more", tag, score, err, least)
			}
			if left := rdb.TTL(t.Context(), tag).Val(); left != -1 {
				t.Errorf("%s expires in %s", tag, left)
			}
		}
		unlink(t, rdb, key)
	}
}

// If an index cannot be written, the value is not cached and its token is released.
func TestTagOfWrongType(t *testing.T) {
	t.Parallel()
	rdb, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	fatal(t, rdb.SAdd(t.Context(), prefix+"set", "x").Err())
	errs := 0
	c := newTexts(t, rdb, fill.Config[string]{OnError: func(error) { errs++ }})
	got, err := c.Get(t.Context(), prefix+"k", ttl, new(row).load, fill.Tags(prefix+"fine", prefix+"set"))
	want(t, result{got, err}, "v0")
	if n := rdb.Exists(t.Context(), prefix+"k", tokenOf(prefix+"k")).Val(); n != 0 || errs != 1 {
		t.Errorf("%d keys are left, %d errors", n, errs)
	}
}
