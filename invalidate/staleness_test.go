package invalidate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A value that existed before the event, and that no deletion reached, is found by its age and by its version. The
// violation contains what was done to the key.
func TestStalenessCheckFindsSurvivingValues(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	r.deafen()
	r.put("aged.1", "x", 10*time.Minute)
	r.put("versioned.1", `{"data": {"version": 6}}`, 0)
	fatal(t, r.rdb.HSet(t.Context(), r.key("hash.1"), "ver", "6", "data", "x").Err())
	r.put("both.1", `{"version": 6}`, 0)
	var book logbook
	cfg := r.checking(300*time.Millisecond, 600*time.Millisecond)
	cfg.Echo = []time.Duration{50 * time.Millisecond}
	cfg.Logger = book.logger()
	v := r.invalidator(cfg)
	stop := r.runChecks(v)
	for _, name := range []string{"aged.1", "versioned.1", "hash.1", "both.1"} {
		r.changed(name, 7)
	}
	r.tally(v, "absent=0 clean=0 suspect=0 no_ttl=0 violations=4")
	a := v.Stats().Staleness[0]
	same(t, "consumer", a.Consumer, stalenessDurable+"300ms")
	same(t, "events, sampled, bound", []any{a.Events, a.Sampled, a.Bound95}, "[4 4 1]")
	if time.Since(a.LastViolation) > patience {
		t.Errorf("last violation: %s", a.LastViolation)
	}
	fatal(t, stop())
	for _, part := range []string{"stale value found in the cache", "key=" + r.key("aged.1"), "invalidate-echo-50ms unlinked sequence 1"} {
		if n := book.count(part); n < 1 || n > 2 { // the first violation of each scale; the others follow within a second
			t.Errorf("the log contains %q %d times; want once or twice", part, n)
		}
	}
	for _, f := range r.findings(8) {
		if len(f.Last) != 4 {
			t.Fatalf("%d violations kept", len(f.Last))
		}
		for i, want := range []string{"aged.1 age", "versioned.1 version", "hash.1 version", "both.1 version"} {
			x := f.Last[i]
			same(t, "violation", x.Key+" "+string(x.Tier), r.prefix+want[:len(want)-len(x.Tier)-3]+":1 "+string(x.Tier))
			same(t, "sequence, scale", fmt.Sprint(x.Sequence, x.Scale), fmt.Sprint(i+1, f.Scale))
			if x.Tier == invalidate.TierVersion {
				same(t, "found", x.Evidence(), "version 6, due 7")
			} else if d := x.CreatedAt.Sub(x.FilledBefore); d < 9*time.Minute || d > 11*time.Minute {
				t.Errorf("filled %s before the event", d)
			}
			if len(x.History) != 2 || x.History[0].Consumer != durable || x.History[1].Action != invalidate.Unlinked {
				t.Errorf("history: %s", x.HistoryText())
			}
		}
	}
}

// A value without sufficient evidence is a suspect, never a violation.
func TestStalenessVerdicts(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	r.deafen()
	created := time.Now()            // of the events, before any value is filled: values filled now cannot be violations by age, however slow the test is
	r.put("aged.1", "x", 0)          // after the event was created, before it was published
	r.put("aged.2", "x", -time.Hour) // lives longer than the rule says
	r.put("versioned.1", "x", 0)     // has no version
	r.put("versioned.2", `{"data": {"version": "seven"}}`, 0)
	r.put("hash.1", "x", 0) // no hash
	r.put("both.1", "x", 0)
	fatal(t, r.rdb.Set(t.Context(), r.key("aged.3"), "x", 0).Err()) // never expires
	fatal(t, r.rdb.HSet(t.Context(), r.key("hash.2"), "data", "x").Err())
	r.put("versioned.3", `{"data": {"version": 7}}`, 0)
	r.put("versioned.4", `{"data": {"version": 12345678901234567890123}}`, 0)
	fatal(t, r.rdb.HSet(t.Context(), r.key("hash.3"), "ver", "7").Err())
	r.put("both.2", `{"version": 7}`, 0)              // by its age alone a suspect
	r.put("both.3", `{"version": 8}`, 10*time.Minute) // by its age alone a violation
	cfg := r.checking(100 * time.Millisecond)
	v := r.invalidator(cfg)
	r.runChecks(v)
	names := []string{
		"aged.1", "aged.2", "aged.3", "versioned.1", "versioned.2", "hash.1", "hash.2", "both.1",
		"versioned.3", "versioned.4", "hash.3", "both.2", "both.3", "aged.9", "hash.9", "plain.1",
	}
	for _, name := range names {
		r.changedAt(created, name, 7)
	}
	r.tally(v, "absent=2 clean=5 suspect=8 no_ttl=1 violations=0")
	a := v.Stats().Staleness[0]
	same(t, "bound", a.Bound95, invalidate.Bound(0, 7))
	same(t, "events of rules whose values can be evaluated", a.Events, len(names)-1)
}

// The event of a deleted row has the last version of that row. A value with the same version shows the row as it was
// before its deletion.
func TestStalenessCheckOfADeletedRow(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	r.deafen()
	created := time.Now() // of the events, before both.2 is filled: see TestAuditJudges
	r.put("both.1", `{"version": 7}`, 10*time.Minute)
	r.put("both.2", `{"version": 7}`, 0)
	r.put("both.3", `{"version": 8}`, 0) // inserted again since
	v := r.invalidator(r.checking(100 * time.Millisecond))
	r.runChecks(v)
	for n := 1; n <= 3; n++ {
		r.publishEvent(&event.Event{
			Subject: fmt.Sprintf("%s.both.%d", r.stream, n), Payload: []byte(`{"version": 7}`), CreatedAt: created,
			Headers: map[string]string{event.HeaderOp: "delete"},
		})
	}
	r.published()
	r.tally(v, "absent=0 clean=1 suspect=1 no_ttl=0 violations=1")
}

// A value filled after the event is no violation, whether the clock of the database is ahead or slow.
func TestStalenessCheckDoesNotTrustTheDatabaseClock(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	v := r.invalidator(r.checking(2 * time.Second))
	r.runChecks(v)
	skews := []time.Duration{-time.Hour, -2 * time.Second, 2 * time.Second, time.Hour}
	for i, skew := range skews {
		r.publishEvent(&event.Event{
			Subject: fmt.Sprintf("%s.aged.%d", r.stream, i), Payload: []byte(`{}`), Position: 1, CreatedAt: time.Now().Add(skew),
		})
	}
	r.published()
	r.until(v, "deleted", func(s invalidate.Stats) bool { return s.Events == int64(len(skews)) })
	for i := range skews {
		r.put(fmt.Sprintf("aged.%d", i), "x", 0)
	}
	r.checked(v, int64(len(skews)))
	same(t, "violations", v.Stats().Staleness[0].Violations, 0)
}

// The sample has the configured size, and is the same at every scale and in every process.
func TestStalenessSample(t *testing.T) {
	t.Parallel()
	const n, share = 4000, 0.05
	r := newStalenessRig(t)
	cfg := r.checking(50*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond)
	cfg.StalenessSample = share
	v, other := r.invalidator(cfg), r.invalidator(cfg)
	r.runChecks(v)
	r.runChecks(other)
	for i := range n {
		r.publishEvent(&event.Event{Subject: fmt.Sprintf("%s.aged.%d", r.stream, i), Payload: []byte(`{}`), CreatedAt: time.Now()})
	}
	r.published()
	var sums [2]invalidate.Tally
	devtest.Eventually(t, patience, "all events seen", func() error {
		for i := range sums {
			sums[i] = v.Stats().Staleness[i].Tally
			sums[i].Add(other.Stats().Staleness[i].Tally)
		}
		if sums[0].Events+sums[1].Events < 2*n {
			return fmt.Errorf("%+v", sums)
		}
		return nil
	})
	same(t, "sampled at the scales", sums[0].Sampled, sums[1].Sampled)
	same(t, "checked", sums[0].Checked, sums[0].Sampled)
	if s := sums[0].Sampled; s < n*share-70 || s > n*share+70 { // five standard deviations
		t.Errorf("sampled %d of %d", s, n)
	}
}
