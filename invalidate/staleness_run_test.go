package invalidate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// The findings of a process remain after it stops. Events that arrive while no process runs are checked by the next
// one.
func TestStalenessCheckSurvivesItsProcess(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	r.changed("aged.0", 1) // before the first check existed: not checked
	cfg := r.checking(100*time.Millisecond, 200*time.Millisecond)
	first := r.invalidator(cfg)
	stop := r.runChecks(first)
	for i := range 10 {
		r.changed(fmt.Sprintf("aged.%d", i), 1)
	}
	r.checked(first, 10)
	fatal(t, stop())
	for i := range 5 {
		r.changed(fmt.Sprintf("hash.%d", i), 1)
	}
	second := r.invalidator(cfg)
	stop = r.runChecks(second)
	for i := range 3 {
		r.changed(fmt.Sprintf("both.%d", i), 1)
	}
	r.checked(second, 8)
	fatal(t, stop())
	all := r.findings(2 * 18)
	same(t, "processes at two scales", len(all), 4)
	sums := make(map[string]int64)
	for _, f := range all {
		sums[f.Consumer] += f.Checked
		if f.Started.After(f.Updated) || f.Last == nil || f.Violations > 0 {
			t.Errorf("findings: %+v", f)
		}
	}
	same(t, "checked", sums, map[string]int64{stalenessDurable + "100ms": 18, stalenessDurable + "200ms": 18})
	if all[0].Instance == all[1].Instance || all[0].Instance != all[2].Instance {
		t.Errorf("instances: %s, %s, %s", all[0].Instance, all[1].Instance, all[2].Instance)
	}
}

// Findings are written while the process runs, not only when it stops.
func TestStalenessCheckWritesFindingsWhileItRuns(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	v := r.invalidator(r.checking(50 * time.Millisecond))
	r.runChecks(v)
	r.changed("aged.1", 1)
	same(t, "absent", r.findings(1)[0].Absent, 1)
	s, err := r.js.Stream(t.Context(), "KV_"+invalidate.FindingsBucket(r.stream))
	fatal(t, err)
	same(t, "kept for", s.CachedInfo().Config.MaxAge, invalidate.FindingsAge)
}

// Without the bucket the checks continue, and log that once.
func TestStalenessCheckWithoutABucket(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	bucket := invalidate.FindingsBucket(r.stream)
	_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KV_" + bucket, Subjects: []string{"$KV." + bucket + ".>"}})
	fatal(t, err) // not a bucket, because it keeps several messages per key
	var book logbook
	cfg := r.checking(50 * time.Millisecond)
	cfg.Logger = book.logger()
	v := r.invalidator(cfg)
	stop := r.runChecks(v)
	r.changed("aged.1", 1)
	r.checked(v, 1)
	devtest.Eventually(t, patience, "logged", func() error {
		if book.count("cannot store the findings") == 0 {
			return errors.New("not logged")
		}
		return nil
	})
	fatal(t, stop())
	same(t, "log lines", book.count("cannot store the findings"), 1)
}

// The rules decide whether there is anything to check. Poison is acknowledged, and the members of tags are not checked.
func TestStalenessCheckFollowsTheRules(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	covered := r.rules
	r.rules = parse(t, fmt.Sprintf(`rules: [{subject: %s.aged.*, prefix: [%q], keys: ["aged:$1"]}]`, r.stream, r.prefix))
	v := r.invalidator(r.checking(50 * time.Millisecond))
	r.runChecks(v)
	same(t, "checks", len(v.Stats().Staleness), 0)
	r.changed("aged.1", 1)
	r.settled()
	fatal(t, v.Reload(t.Context(), covered))
	r.until(v, "a check", func(s invalidate.Stats) bool { return len(s.Staleness) == 1 })
	devtest.Eventually(t, patience, "its consumer", func() error {
		_, err := r.js.Consumer(t.Context(), r.stream, stalenessDurable+"50ms")
		return err
	})
	tagged := parse(t, fmt.Sprintf(`rules: [{subject: %s.aged.*, prefix: [%q], keys: ["aged:${payload.id}"], tags: ["tag:$1"], ttl: 1h}]`, r.stream, r.prefix))
	fatal(t, v.Reload(t.Context(), tagged))
	fatal(t, v.Reload(t.Context(), tagged)) // when the second call returns, the rules of the first one are in use
	r.publishEvent(&event.Event{Subject: r.stream + ".aged.1", Payload: []byte(`{}`), CreatedAt: time.Now()})
	r.publishEvent(&event.Event{Subject: r.stream + ".aged.1", Payload: []byte(`{"id": 1}`), CreatedAt: time.Now()})
	r.published()
	r.tally(v, "absent=1 clean=0 suspect=0 no_ttl=0 violations=0")
	devtest.Eventually(t, patience, "all acknowledged", func() error {
		if info := r.consumer(stalenessDurable + "50ms"); info.NumPending+uint64(info.NumAckPending) > 0 {
			return fmt.Errorf("%d pending, %d not acknowledged", info.NumPending, info.NumAckPending)
		}
		return nil
	})
	letters := r.deadLetters()
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	contains(t, "dead-lettered by", letters[0].Header.Get(event.HeaderDeadConsumer), durable)
}

// A check waits for the end of an outage of Redis, and then checks all keys.
func TestStalenessCheckWaitsForRedis(t *testing.T) {
	t.Parallel()
	const n = 50
	r := newStalenessRig(t)
	server := devtest.OwnRedis(t)
	r.rdb = redisClient(t, server.URL())
	v := r.invalidator(r.checking(50 * time.Millisecond))
	r.runChecks(v)
	fatal(t, server.Stop())
	for i := range n {
		r.changed(fmt.Sprintf("both.%d", i), 1)
	}
	r.until(v, "paused", func(s invalidate.Stats) bool { return s.Paused })
	fatal(t, server.Start(t.Context()))
	r.tally(v, fmt.Sprintf("absent=%d clean=0 suspect=0 no_ttl=0 violations=0", n))
}

// If the Redis user may only delete, every key is a suspect, and the missing permissions are logged once.
func TestStalenessCheckWithoutPermission(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	server := devtest.OwnRedis(t)
	admin := redisClient(t, server.URL())
	fatal(t, admin.Do(t.Context(), "ACL", "SETUSER", "deleter", "on", ">secret", "~*", "-@all", "+unlink", "+ping", "+hello", "+client").Err())
	r.rdb = redisClient(t, strings.Replace(server.URL(), "redis://", "redis://deleter:secret@", 1))
	var book logbook
	cfg := r.checking(50 * time.Millisecond)
	cfg.Logger = book.logger()
	v := r.invalidator(cfg)
	stop := r.runChecks(v)
	r.changed("both.1", 1)
	r.changed("aged.1", 1)
	r.tally(v, "absent=0 clean=0 suspect=2 no_ttl=0 violations=0")
	same(t, "bound", v.Stats().Staleness[0].Bound95, 1)
	fatal(t, stop())
	same(t, "log lines", book.count("+pttl +get +hget"), 1)
}

func TestStalenessConfigIsChecked(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	for want, change := range map[string]func(*invalidate.Config){
		"invalid Staleness [0s]":      func(c *invalidate.Config) { c.Staleness = []time.Duration{0} },
		"invalid Staleness [1.5ms]":   func(c *invalidate.Config) { c.Staleness = []time.Duration{1500 * time.Microsecond} },
		"invalid Staleness [1h0m1s":   func(c *invalidate.Config) { c.Staleness = []time.Duration{time.Hour + time.Second} },
		"8 scales":                    func(c *invalidate.Config) { c.Staleness = make([]time.Duration, 9) },
		"invalid StalenessSample -1":  func(c *invalidate.Config) { c.StalenessSample = -1 },
		"invalid StalenessSample 1.1": func(c *invalidate.Config) { c.StalenessSample = 1.1 },
	} {
		cfg := r.config()
		change(&cfg)
		_, err := invalidate.New(r.js, r.rdb, cfg)
		if err == nil {
			t.Errorf("%s: no error", want)
			continue
		}
		contains(t, "error", err.Error(), want)
	}
	var scales []time.Duration
	for _, a := range r.invalidator(r.config()).Stats().Staleness {
		scales = append(scales, a.Scale)
		same(t, "bound without data", a.Bound95, 1)
	}
	same(t, "default scales", scales, "[1m0s 5m0s]")
	found, err := invalidate.ReadFindings(context.Background(), r.js, r.stream)
	fatal(t, err)
	same(t, "findings without a check", len(found), 0)
}
