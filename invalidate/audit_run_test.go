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

// Processes come and go: what they found is summed up by who reads it, and what came in between is looked at by the next.
func TestAuditOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	r := newAuditRig(t)
	r.changed("aged.0", 1) // before the first audit there ever was: none of its business
	cfg := r.audits(100*time.Millisecond, 200*time.Millisecond)
	first := r.invalidator(cfg)
	stop := r.auditing(first)
	for i := range 10 {
		r.changed(fmt.Sprintf("aged.%d", i), 1)
	}
	r.audited(first, 10)
	fatal(t, stop())
	for i := range 5 {
		r.changed(fmt.Sprintf("hash.%d", i), 1)
	}
	second := r.invalidator(cfg)
	stop = r.auditing(second)
	for i := range 3 {
		r.changed(fmt.Sprintf("both.%d", i), 1)
	}
	r.audited(second, 8)
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
	same(t, "checked", sums, map[string]int64{auditDurable + "100ms": 18, auditDurable + "200ms": 18})
	if all[0].Instance == all[1].Instance || all[0].Instance != all[2].Instance {
		t.Errorf("instances: %s, %s, %s", all[0].Instance, all[1].Instance, all[2].Instance)
	}
}

// Findings are there while the process runs, not only when it ends.
func TestAuditWritesWhileItRuns(t *testing.T) {
	t.Parallel()
	r := newAuditRig(t)
	v := r.invalidator(r.audits(50 * time.Millisecond))
	r.auditing(v)
	r.changed("aged.1", 1)
	same(t, "absent", r.findings(1)[0].Absent, 1)
	s, err := r.js.Stream(t.Context(), "KV_"+invalidate.FindingsBucket(r.stream))
	fatal(t, err)
	same(t, "kept for", s.CachedInfo().Config.MaxAge, invalidate.FindingsAge)
}

// Without the bucket the audits go on, and say so once.
func TestAuditWithoutABucket(t *testing.T) {
	t.Parallel()
	r := newAuditRig(t)
	bucket := invalidate.FindingsBucket(r.stream)
	_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KV_" + bucket, Subjects: []string{"$KV." + bucket + ".>"}})
	fatal(t, err) // of which each key could be there many times: no bucket
	var book logbook
	cfg := r.audits(50 * time.Millisecond)
	cfg.Logger = book.logger()
	v := r.invalidator(cfg)
	stop := r.auditing(v)
	r.changed("aged.1", 1)
	r.audited(v, 1)
	devtest.Eventually(t, patience, "a word", func() error {
		if book.count("cannot be stored") == 0 {
			return errors.New("none")
		}
		return nil
	})
	fatal(t, stop())
	same(t, "words", book.count("cannot be stored"), 1)
}

// Rules decide whether there is anything to audit; poison is acknowledged and left to others, tags are not looked at.
func TestAuditFollowsTheRules(t *testing.T) {
	t.Parallel()
	r := newAuditRig(t)
	audited := r.rules
	r.rules = parse(t, fmt.Sprintf(`rules: [{subject: %s.aged.*, prefix: [%q], keys: ["aged:$1"]}]`, r.stream, r.prefix))
	v := r.invalidator(r.audits(50 * time.Millisecond))
	r.auditing(v)
	same(t, "audits", len(v.Stats().Audits), 0)
	r.changed("aged.1", 1)
	r.settled()
	fatal(t, v.Reload(t.Context(), audited))
	r.until(v, "an audit", func(s invalidate.Stats) bool { return len(s.Audits) == 1 })
	devtest.Eventually(t, patience, "its consumer", func() error {
		_, err := r.js.Consumer(t.Context(), r.stream, auditDurable+"50ms")
		return err
	})
	tagged := parse(t, fmt.Sprintf(`rules: [{subject: %s.aged.*, prefix: [%q], keys: ["aged:${payload.id}"], tags: ["tag:$1"], ttl: 1h}]`, r.stream, r.prefix))
	fatal(t, v.Reload(t.Context(), tagged))
	fatal(t, v.Reload(t.Context(), tagged)) // the first is taken over by the time that the second one is heard
	r.publishEvent(&event.Event{Subject: r.stream + ".aged.1", Payload: []byte(`{}`), CreatedAt: time.Now()})
	r.publishEvent(&event.Event{Subject: r.stream + ".aged.1", Payload: []byte(`{"id": 1}`), CreatedAt: time.Now()})
	r.published()
	r.tally(v, "absent=1 clean=0 suspect=0 no_ttl=0 violations=0")
	devtest.Eventually(t, patience, "all acknowledged", func() error {
		if info := r.consumer(auditDurable + "50ms"); info.NumPending+uint64(info.NumAckPending) > 0 {
			return fmt.Errorf("%d pending, %d not acknowledged", info.NumPending, info.NumAckPending)
		}
		return nil
	})
	letters := r.letters()
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	contains(t, "given up by", letters[0].Header.Get(event.HeaderDeadConsumer), durable)
}

// An audit waits for Redis as the others do, and has looked at everything afterwards.
func TestAuditWaitsForRedis(t *testing.T) {
	t.Parallel()
	const n = 50
	r := newAuditRig(t)
	server := devtest.OwnRedis(t)
	r.rdb = redisClient(t, server.URL())
	v := r.invalidator(r.audits(50 * time.Millisecond))
	r.auditing(v)
	fatal(t, server.Stop())
	for i := range n {
		r.changed(fmt.Sprintf("both.%d", i), 1)
	}
	r.until(v, "paused", func(s invalidate.Stats) bool { return s.Paused })
	fatal(t, server.Start(t.Context()))
	r.tally(v, fmt.Sprintf("absent=%d clean=0 suspect=0 no_ttl=0 violations=0", n))
}

// A user that may only delete makes everything a suspect, and the log says what to allow, once.
func TestAuditMayNotLook(t *testing.T) {
	t.Parallel()
	r := newAuditRig(t)
	server := devtest.OwnRedis(t)
	admin := redisClient(t, server.URL())
	fatal(t, admin.Do(t.Context(), "ACL", "SETUSER", "deleter", "on", ">secret", "~*", "-@all", "+unlink", "+ping", "+hello", "+client").Err())
	r.rdb = redisClient(t, strings.Replace(server.URL(), "redis://", "redis://deleter:secret@", 1))
	var book logbook
	cfg := r.audits(50 * time.Millisecond)
	cfg.Logger = book.logger()
	v := r.invalidator(cfg)
	stop := r.auditing(v)
	r.changed("both.1", 1)
	r.changed("aged.1", 1)
	r.tally(v, "absent=0 clean=0 suspect=2 no_ttl=0 violations=0")
	same(t, "bound", v.Stats().Audits[0].Bound95, 1)
	fatal(t, stop())
	same(t, "words", book.count("+pttl +get +hget"), 1)
}

func TestAuditConfigIsChecked(t *testing.T) {
	t.Parallel()
	r := newAuditRig(t)
	for want, change := range map[string]func(*invalidate.Config){
		"Audit is [0s]":    func(c *invalidate.Config) { c.Audit = []time.Duration{0} },
		"Audit is [1.5ms]": func(c *invalidate.Config) { c.Audit = []time.Duration{1500 * time.Microsecond} },
		"Audit is [1h0m1s": func(c *invalidate.Config) { c.Audit = []time.Duration{time.Hour + time.Second} },
		"8 scales":         func(c *invalidate.Config) { c.Audit = make([]time.Duration, 9) },
		"Sample is -1":     func(c *invalidate.Config) { c.Sample = -1 },
		"Sample is 1.1":    func(c *invalidate.Config) { c.Sample = 1.1 },
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
	for _, a := range r.invalidator(r.config()).Stats().Audits {
		scales = append(scales, a.Scale)
		same(t, "bound without data", a.Bound95, 1)
	}
	same(t, "default scales", scales, "[1m0s 5m0s]")
	found, err := invalidate.ReadFindings(context.Background(), r.js, r.stream)
	fatal(t, err)
	same(t, "findings of nobody", len(found), 0)
}
