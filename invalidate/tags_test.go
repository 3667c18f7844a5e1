package invalidate_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// tagRules sets rules by which an event <stream>.tag.<name> makes the members of tag <name> stale.
func (r *rig) tagRules() {
	r.rules = parse(r.t, fmt.Sprintf(`rules: [{subject: %s.tag.*, prefix: [%q], keys: ["list:$1"], tags: ["tag:$1"]}]`, r.stream, r.prefix))
}

// index creates a tag of n members, each with a value, and returns their keys. The tag is a ZSET if scored, a SET
// otherwise.
func (r *rig) index(name string, n int, scored bool) []string {
	r.t.Helper()
	pipe := r.rdb.Pipeline()
	keys := make([]string, n)
	for i := range n {
		keys[i] = fmt.Sprintf("%smember:%s:%d", r.prefix, name, i)
		pipe.Set(r.t.Context(), keys[i], "old", time.Hour)
		if scored {
			pipe.ZAdd(r.t.Context(), r.prefix+"tag:"+name, redis.Z{Score: float64(time.Now().Unix() + 3600), Member: keys[i]})
		} else {
			pipe.SAdd(r.t.Context(), r.prefix+"tag:"+name, keys[i])
		}
	}
	_, err := pipe.Exec(r.t.Context())
	fatal(r.t, err)
	return keys
}

func (r *rig) publishTag(name string) {
	r.t.Helper()
	r.publishEvent(&event.Event{Subject: r.stream + ".tag." + name, CreatedAt: time.Now()})
	r.published()
}

// acknowledged waits until every message is acknowledged.
func (r *rig) acknowledged(durable string) {
	r.t.Helper()
	devtest.Eventually(r.t, patience, "all events acknowledged", func() error {
		cons, err := r.js.Consumer(r.t.Context(), r.stream, durable)
		if err != nil {
			return err
		}
		if info := cons.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
			return fmt.Errorf("%d pending, %d not acknowledged", info.NumPending, info.NumAckPending)
		}
		return nil
	})
}

func (r *rig) exist(keys []string) (n int64) {
	r.t.Helper()
	n, err := r.rdb.Exists(r.t.Context(), keys...).Result()
	fatal(r.t, err)
	return n
}

// The values of both kinds of tags are deleted, and their members stay.
func TestTags(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.tagRules()
	set, zset, other := r.index("set", 2500, false), r.index("zset", 2500, true), r.index("other", 10, false)
	fatal(t, r.rdb.Set(t.Context(), r.prefix+"tag:text", "no tag", 0).Err())
	v := r.invalidator(r.config())
	r.run(v)
	for _, name := range []string{"set", "zset", "text", "missing"} {
		r.publishTag(name)
	}
	r.acknowledged(durable)
	same(t, "left of set, zset, other", []int64{r.exist(set), r.exist(zset), r.exist(other)}, []int{0, 0, 10})
	same(t, "members", []int64{r.rdb.SCard(t.Context(), r.prefix+"tag:set").Val(), r.rdb.ZCard(t.Context(), r.prefix+"tag:zset").Val()}, []int{2500, 2500})
	r.until(v, "counted", func(s invalidate.Stats) bool {
		return s.Tags == 4 && s.TagErrors == 1 && s.Members >= 5000 && s.TagsWaiting == 0
	})
}

// A message whose tag is already waiting is acknowledged at once; only the first one that requested the tag stays in
// hand until the tag was scanned.
func TestWaitingTagIsScannedOnceForAll(t *testing.T) {
	t.Parallel()
	const n = 300
	r := newRig(t)
	r.tagRules()
	r.index("a", 200, false)
	cfg := r.config()
	cfg.TagRate = 400 // half a second for each scan
	v := r.invalidator(cfg)
	r.run(v)
	r.publishTag("a")
	r.until(v, "scan started", func(s invalidate.Stats) bool { return s.TagsWaiting == 1 })
	for range n {
		r.publishTag("a")
	}
	devtest.Eventually(t, patience, "at most two in hand", func() error {
		if info := r.consumer(durable); info.NumPending > 0 || info.NumAckPending > 2 {
			return fmt.Errorf("%d pending, %d not acknowledged", info.NumPending, info.NumAckPending)
		}
		return nil
	})
	keys := r.index("a", 200, false) // stale values, filled before the last scan
	r.acknowledged(durable)
	if s := v.Stats(); s.Tags < 2 || s.Tags > 20 {
		t.Errorf("%d scans for %d events", s.Tags, n+1)
	}
	same(t, "left", r.exist(keys), 0)
}

// A large tag does not delay the keys of other events.
func TestTagsDoNotDelayKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.rules = parse(t, fmt.Sprintf(`
rules:
  - {subject: %[1]s.tag.*, prefix: [%[2]q], tags: ["tag:$1"]}
  - {subject: %[1]s.users.*.updated, prefix: [%[2]q], keys: ["user:$1:profile", "user:$1:orders"]}
`, r.stream, r.prefix))
	r.index("large", 2000, true)
	cfg := r.config()
	cfg.TagRate = 100 // twenty seconds for the scan
	cfg.Grace = time.Millisecond
	v := r.invalidator(cfg)
	stop := r.run(v)
	r.publishTag("large")
	r.until(v, "scan started", func(s invalidate.Stats) bool { return s.TagsWaiting == 1 })
	r.fill(0, 10)
	r.publish(0, 10)
	r.until(v, "keys deleted", func(s invalidate.Stats) bool { return s.Keys == 20 && s.Deleted == 20 })
	same(t, "tags scanned", v.Stats().Tags, 0)
	fatal(t, stop())
	if info := r.consumer(durable); info.AckFloor.Stream != 0 {
		t.Error("the event was acknowledged before its tag was scanned")
	}
}

// When an invalidator stops during a scan, another one starts the scan again at once.
func TestTagIsTakenOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.tagRules()
	keys := r.index("large", 3000, false)
	cfg := r.config()
	cfg.TagRate = 500
	cfg.Grace = 2 * time.Second // longer than a pull request is open
	v := r.invalidator(cfg)
	stop := r.run(v)
	r.publishTag("large")
	devtest.Eventually(t, patience, "scan in progress", func() error {
		if n := r.exist(keys); n == 3000 || n == 0 {
			return fmt.Errorf("%d left", n)
		}
		return nil
	})
	fatal(t, stop())
	if r.exist(keys) == 0 {
		t.Fatal("the scan was complete before the invalidator stopped")
	}
	r.run(r.invalidator(r.config()))
	r.acknowledged(durable)
	same(t, "left", r.exist(keys), 0)
}

// While many clients refill the members of a tag, no value older than the event survives the echo, and no member is
// lost. Each value is the time at which it was read.
func TestTagUnderRefill(t *testing.T) {
	t.Parallel()
	const delay = 700 * time.Millisecond
	members, clients := tagSize(t)
	r := newRig(t)
	r.tagRules()
	r.index("busy", members, true)
	v := r.invalidator(r.echoes(delay))
	r.run(v)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, clients)
	for c := range clients {
		go func() { ended <- r.refill(ctx, "busy", c, members) }()
	}
	for i := range 5 {
		r.publishTag("busy")
		r.until(v, "echoed", func(s invalidate.Stats) bool { return s.Echoes[0].Tags > int64(i) })
	}
	r.acknowledged("invalidate-echo-700ms")
	changed := time.Now()
	r.publishTag("busy")
	r.until(v, "echoed", func(s invalidate.Stats) bool { return s.Echoes[0].Tags >= 6 })
	r.acknowledged("invalidate-echo-700ms")
	cancel()
	for range clients {
		fatal(t, <-ended)
	}
	checked, lost := 0, 0
	for i := range members {
		key := fmt.Sprintf("%smember:busy:%d", r.prefix, i)
		read, err := r.rdb.Get(t.Context(), key).Int64()
		if err == redis.Nil {
			continue
		}
		fatal(t, err)
		checked++
		if read < changed.UnixNano() {
			t.Errorf("the value of %s was read %s before the change", key, changed.Sub(time.Unix(0, read)))
		}
		if r.rdb.ZScore(t.Context(), r.prefix+"tag:busy", key).Err() != nil {
			lost++
		}
	}
	same(t, "members lost", lost, 0)
	if checked == 0 {
		t.Error("no value was refilled")
	}
	t.Logf("%d members, %d clients: %d values at the end, all newer than the change; no member lost", members, clients, checked)
}

// tagSize returns the size of tags in these tests and the number of clients that fill them; the full size if
// OUTBOX_TAG=full.
func tagSize(t *testing.T) (members, clients int) {
	t.Helper()
	if os.Getenv("OUTBOX_TAG") == "full" {
		return 100_000, 50
	}
	return 3000, 10
}

// Deletions do not exceed the configured rate. Without a limit they are as fast as Redis.
func TestTagRate(t *testing.T) {
	t.Parallel()
	members, _ := tagSize(t)
	r := newRig(t)
	r.tagRules()
	pace := 1500
	if members > 10_000 {
		pace = 10_000
	}
	for _, limit := range []int{-1, pace} {
		r.index("large", members, true)
		cfg := r.config()
		cfg.Durable = fmt.Sprintf("rate%d", limit)
		cfg.TagRate = limit
		v := r.invalidator(cfg)
		stop := r.run(v)
		r.until(v, "backlog processed", func(s invalidate.Stats) bool { return s.Tags == s.Events && s.TagsWaiting == 0 })
		began, before := time.Now(), v.Stats().Members
		r.publishTag("large")
		r.until(v, "members deleted", func(s invalidate.Stats) bool { return s.Members > before })
		took, deleted := time.Since(began), v.Stats().Members-before
		fatal(t, stop())
		got := float64(deleted) / took.Seconds()
		t.Logf("%d members in %s: %.0f/s, limit %d", deleted, took.Round(time.Millisecond), got, limit)
		if limit > 0 && (got > 1.1*float64(limit) || got < 0.9*float64(limit) && os.Getenv("OUTBOX_TAG") == "full") {
			t.Errorf("%.0f/s; want the limit, %d/s", got, limit)
		}
	}
}

// refill is a client that reads the database, waits a moment, and writes the value and then the membership.
func (r *rig) refill(ctx context.Context, tag string, client, members int) error {
	for i := client; ; i += 7 {
		key := fmt.Sprintf("%smember:%s:%d", r.prefix, tag, i%members)
		read := time.Now().UnixNano()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(i%100) * 100 * time.Microsecond):
		}
		pipe := r.rdb.Pipeline()
		pipe.Set(context.WithoutCancel(ctx), key, read, time.Hour)
		pipe.ZAdd(context.WithoutCancel(ctx), r.prefix+"tag:"+tag, redis.Z{Score: float64(time.Now().Unix() + 3660), Member: key})
		if _, err := pipe.Exec(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}
