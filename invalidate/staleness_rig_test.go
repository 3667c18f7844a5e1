package invalidate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// newStalenessRig returns a rig whose event <stream>.<kind>.<n> makes the key <kind>:<n> stale. The kind determines how
// the value can be evaluated: aged, versioned, hash, both, or plain, which cannot be evaluated.
func newStalenessRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	bucket := invalidate.FindingsBucket(r.stream)
	t.Cleanup(func() {
		err := r.js.DeleteKeyValue(context.Background(), bucket)
		if err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("delete bucket %s: %v", bucket, err)
		}
	})
	r.stalenessRules(r.prefix)
	return r
}

func (r *rig) stalenessRules(prefix string) {
	r.t.Helper()
	r.rules = parse(r.t, fmt.Sprintf(`
rules:
  - {subject: %[1]s.aged.*, prefix: [%[2]q], keys: ["aged:$1"], ttl: 1h}
  - {subject: %[1]s.versioned.*, prefix: [%[2]q], keys: ["versioned:$1"], version: {event: version, value: data.version}}
  - {subject: %[1]s.hash.*, prefix: [%[2]q], keys: ["hash:$1"], version: {event: version, value: "hash:ver"}}
  - {subject: %[1]s.both.*, prefix: [%[2]q], keys: ["both:$1"], ttl: 1h, version: {event: version, value: version}}
  - {subject: %[1]s.plain.*, prefix: [%[2]q], keys: ["plain:$1"]}
`, r.stream, prefix))
}

// checking returns a configuration that checks every event at these scales.
func (r *rig) checking(scales ...time.Duration) invalidate.Config {
	cfg := r.config()
	cfg.Staleness = scales
	cfg.StalenessSample = 1
	return cfg
}

const stalenessDurable = "invalidate-staleness-"

// runChecks runs an invalidator, and returns when its staleness checks will receive everything published from now on.
func (r *rig) runChecks(v *invalidate.Invalidator) (stop func() error) {
	r.t.Helper()
	stop = r.run(v)
	for _, a := range v.Stats().Staleness {
		devtest.Eventually(r.t, patience, a.Consumer, func() error {
			_, err := r.js.Consumer(r.t.Context(), r.stream, a.Consumer)
			return err
		})
	}
	return stop
}

// changed publishes one event about a key, named kind.n, that was created now.
func (r *rig) changed(name string, version int) {
	r.t.Helper()
	r.changedAt(time.Now(), name, version)
}

// changedAt publishes one event about a key, named kind.n, that was created at a time.
func (r *rig) changedAt(created time.Time, name string, version int) {
	r.t.Helper()
	r.publishEvent(&event.Event{
		Subject: r.stream + "." + name, Payload: fmt.Appendf(nil, `{"version": %d}`, version), Position: 1, CreatedAt: created,
	})
	r.published()
}

func (r *rig) key(name string) string { return r.prefix + strings.Replace(name, ".", ":", 1) }

// put sets a key as a reader would have set it some time ago.
func (r *rig) put(name, value string, ago time.Duration) {
	r.t.Helper()
	fatal(r.t, r.rdb.Set(r.t.Context(), r.key(name), value, time.Hour-ago).Err())
}

// checked waits until each scale has checked this number of keys.
func (r *rig) checked(v *invalidate.Invalidator, keys int64) []invalidate.StalenessStats {
	r.t.Helper()
	r.until(v, "keys checked", func(s invalidate.Stats) bool {
		for _, a := range s.Staleness {
			if a.Checked < keys {
				return false
			}
		}
		return true
	})
	return v.Stats().Staleness
}

// tally waits until each scale has checked the number of keys in want, and compares the verdicts.
func (r *rig) tally(v *invalidate.Invalidator, want string) {
	r.t.Helper()
	var n, checked int64
	for _, part := range strings.Fields(want) {
		if _, err := fmt.Sscanf(part[strings.Index(part, "=")+1:], "%d", &n); err != nil {
			r.t.Fatal(err)
		}
		if !strings.HasPrefix(part, "no_ttl") {
			checked += n
		}
	}
	for _, a := range r.checked(v, checked) {
		got := fmt.Sprintf("absent=%d clean=%d suspect=%d no_ttl=%d violations=%d", a.Absent, a.Clean, a.Suspect, a.NoTTL, a.Violations)
		same(r.t, "check after "+a.Scale.String(), got, want)
		same(r.t, "checked", a.Checked, checked)
	}
}

// findings waits until the staleness checks have written findings about this number of keys, and returns them.
func (r *rig) findings(keys int64) []invalidate.Findings {
	r.t.Helper()
	var all []invalidate.Findings
	devtest.Eventually(r.t, patience, "findings in the bucket", func() (err error) {
		all, err = invalidate.ReadFindings(r.t.Context(), r.js, r.stream)
		n := int64(0)
		for i := range all {
			n += all[i].Checked
		}
		if err == nil && n < keys {
			err = fmt.Errorf("findings about %d keys", n)
		}
		return err
	})
	return all
}

// A deaf hook confirms deletions without sending them to Redis.
type deaf struct{}

func (deaf) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (deaf) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (deaf) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		var sent []redis.Cmder
		for _, cmd := range cmds {
			if unlink, ok := cmd.(*redis.IntCmd); ok && cmd.Name() == "unlink" {
				unlink.SetVal(1)
			} else {
				sent = append(sent, cmd)
			}
		}
		if len(sent) == 0 {
			return nil
		}
		return next(ctx, sent)
	}
}

// deafen makes the client of the rig lose its deletions.
func (r *rig) deafen() {
	r.t.Helper()
	client := redisClient(r.t, devtest.Redis(r.t).URL())
	client.AddHook(deaf{})
	r.rdb = client
}
