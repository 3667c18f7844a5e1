package fill_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// UNLINK of any stamp makes every value under it a miss, and the old text is overwritten.
func TestStamps(t *testing.T) {
	t.Parallel()
	rdb, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	keys, stamps, users := []string{prefix + "a", prefix + "b"}, []string{prefix + "s1", prefix + "s2"}, new(row)
	c := newTexts(t, rdb, fill.Config[string]{})
	wantAll := func(text string, stamps ...string) {
		t.Helper()
		for _, key := range keys {
			got, err := c.Get(t.Context(), key, ttl, users.load, fill.Stamps(stamps...))
			want(t, result{got, err}, text)
			if held := cached(t, rdb, key); len(held) < fill.HeaderSize || held[fill.HeaderSize:] != text {
				t.Errorf("cached %q, want %q after the header", held, text)
			}
		}
	}
	wantAll("v0", stamps...)
	wantAll("v0", stamps[1], stamps[0], stamps[1])
	if s := c.Stats(); s.Hits != 2 || s.Loads != 2 {
		t.Errorf("%+v", s)
	}
	for i, lost := range stamps {
		users.version.Add(1)
		wantAll(fmt.Sprintf("v%d", i), stamps...) // cached until the stamp is deleted
		fatal(t, rdb.Unlink(t.Context(), lost).Err())
		wantAll(fmt.Sprintf("v%d", i+1), stamps...)
	}
	users.version.Add(1)
	wantAll("v3", stamps[0]) // a value under other stamps is not valid
	if s := c.Stats(); s.Errors != 0 || s.Refused != 0 || s.Fills != s.Loads {
		t.Errorf("%+v", s)
	}
}

// A commit and the UNLINK of the stamp come between any steps of a reader: the next reader does not get the old value.
func TestStampBetweenSteps(t *testing.T) {
	t.Parallel()
	plain, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	for _, old := range []bool{false, true} { // true: a value under an older stamp exists
		var steps []string
		for commit := 0; commit == 0 || commit <= len(steps); commit++ {
			for del := commit; del == commit || del <= len(steps); del++ {
				name := fmt.Sprint(prefix, old, commit, ":", del)
				key, stamp, users := name, name+":stamp", new(row)
				opts := []fill.Option{fill.Stamps(stamp)}
				c := newTexts(t, plain, fill.Config[string]{})
				if old {
					_, err := c.Get(t.Context(), key, ttl, users.load, opts...)
					fatal(t, err)
					users.version.Add(1)
					unlink(t, plain, stamp)
				}
				steps = play(t, key, opts, users, []int{commit, del},
					func() { users.version.Add(1) },
					func() { unlink(t, plain, stamp) })
				got, err := c.Get(t.Context(), key, ttl, users.load, opts...)
				if err != nil || got != users.text() {
					t.Errorf("steps %v: commit before %d, unlink before %d: got %q, %v, want %s", steps, commit, del, got, err, users.text())
				}
			}
		}
		if got := fmt.Sprint(steps); got != "[get stamp miss select selected fill]" {
			t.Errorf("steps %s", got)
		}
	}
}

// A stamp script that the network delivers a second time, after the stamp was deleted, does not make old values valid.
func TestLateDuplicateOfStamp(t *testing.T) {
	t.Parallel()
	plain, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	rdb, tp := tapped(t)
	var made []any
	tp.on(func(step string, cmds []redis.Cmder) {
		if step == "stamp" {
			made = cmds[0].Args()
		}
	})
	c, users := newTexts(t, rdb, fill.Config[string]{}), new(row)
	for _, text := range []string{"v0", "v1"} {
		got, err := c.Get(t.Context(), prefix+"k", ttl, users.load, fill.Stamps(prefix+"s"))
		want(t, result{got, err}, text)
		users.version.Add(1)
		unlink(t, plain, prefix+"s")
		fatal(t, plain.Do(t.Context(), made...).Err())
	}
}

// A caller that reads another stamp does not join the running load.
func TestStampSeparatesLoads(t *testing.T) {
	t.Parallel()
	rdb, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	c, s, users := newTexts(t, rdb, fill.Config[string]{WaitMax: 1}), newStall(t), new(row)
	stamps := fill.Stamps(prefix + "s")
	old := get(t.Context(), c, prefix+"k", s.of(users.load), stamps)
	<-s.read
	users.version.Add(1)
	unlink(t, rdb, prefix+"s")
	got, err := c.Get(t.Context(), prefix+"k", ttl, users.load, stamps)
	want(t, result{got, err}, "v1")
	s.end()
	want(t, <-old, "v0")
	got, err = c.Get(t.Context(), prefix+"k", ttl, users.load, stamps)
	want(t, result{got, err}, "v1")
}

// If a stamp is not a string, the value is not cached.
func TestStampOfWrongType(t *testing.T) {
	t.Parallel()
	rdb, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	fatal(t, rdb.SAdd(t.Context(), prefix+"s", "x").Err())
	errs := 0
	c := newTexts(t, rdb, fill.Config[string]{OnError: func(error) { errs++ }})
	got, err := c.Get(t.Context(), prefix+"k", ttl, new(row).load, fill.Stamps(prefix+"s"))
	want(t, result{got, err}, "v0")
	if n := rdb.Exists(t.Context(), prefix+"k", tokenOf(prefix+"k")).Val(); n != 0 || errs != 1 {
		t.Errorf("%d keys are left, %d errors", n, errs)
	}
}
