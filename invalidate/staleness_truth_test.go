package invalidate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A world consists of rows with a version, writers that change them, and readers that fill the cache from them as an
// ordinary application does: check the cache, and on a miss read the row and SET.
type world struct {
	r    *rig
	rdb  *redis.Client // of the readers
	rows int

	mu       sync.Mutex
	versions map[string]int // by row, named kind.n
}

const stall = 500 * time.Millisecond // maximum time of a reader from reading the row to writing the cache

func newWorld(r *rig, rows int) *world {
	w := &world{r: r, rdb: redisClient(r.t, devtest.Redis(r.t).URL()), rows: rows, versions: make(map[string]int)}
	return w
}

func (w *world) row() string {
	return []string{"aged", "versioned", "hash", "both"}[rand.N(4)] + "." + strconv.Itoa(rand.N(w.rows))
}

// write changes n random rows, one at most every interval.
func (w *world) write(n int, interval time.Duration) {
	pace := time.NewTicker(interval)
	defer pace.Stop()
	for range n {
		<-pace.C
		name, inserted := w.row(), time.Now()
		w.mu.Lock() // the commit
		w.versions[name]++
		version := w.versions[name]
		w.mu.Unlock()
		w.r.publishEvent(&event.Event{
			Subject: w.r.stream + "." + name, Payload: fmt.Appendf(nil, `{"version": %d}`, version), Position: 1, CreatedAt: inserted,
		})
	}
	w.r.published()
}

// read reads random rows until ctx ends.
func (w *world) read(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := w.readOne(ctx, w.row(), rand.N(20) == 0); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (w *world) readOne(ctx context.Context, name string, slow bool) error {
	key := w.r.key(name)
	n, err := w.rdb.Exists(ctx, key).Result()
	if err != nil || n == 1 {
		return err
	}
	w.mu.Lock()
	version, began := w.versions[name], time.Now()
	w.mu.Unlock()
	if slow {
		<-time.After(rand.N(stall / 2))
	}
	if time.Since(began) > stall { // the machine was too slow: the echo does not cover this reader
		return nil
	}
	if strings.HasPrefix(name, "hash") {
		return w.rdb.HSet(ctx, key, "ver", version).Err()
	}
	return w.rdb.Set(ctx, key, fmt.Sprintf(`{"version": %d, "data": {"version": %d}}`, version, version), time.Hour).Err()
}

// readers starts n readers, which run until stop is called.
func (w *world) readers(n int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			if err := w.read(ctx); err != nil {
				w.r.t.Errorf("read: %v", err)
			}
		})
	}
	return func() { cancel(); group.Wait() }
}

// If all invalidators work, thousands of events with concurrent readers cause no violation, and most values are clean
// by version or age.
func TestStalenessCheckOfACorrectSystem(t *testing.T) {
	t.Parallel()
	const n = 3000
	r := newStalenessRig(t)
	cfg := r.checking(6*time.Second, 8*time.Second)
	cfg.Echo = []time.Duration{5 * time.Second}
	v, other := r.invalidator(cfg), r.invalidator(cfg)
	r.runChecks(v)
	r.runChecks(other)
	w := newWorld(r, 100)
	stop := w.readers(3)
	defer stop()
	w.write(n, time.Millisecond)
	for scale := range 2 {
		var sum invalidate.Tally
		r.until(v, "keys checked", func(s invalidate.Stats) bool {
			sum = s.Staleness[scale].Tally
			sum.Add(other.Stats().Staleness[scale].Tally)
			return sum.Checked >= n
		})
		t.Logf("%s: %+v, bound %.2e", cfg.Staleness[scale], sum, sum.Bound())
		same(t, "violations", sum.Violations, 0)
		if sum.Clean < n/2 || sum.Suspect > n/10 {
			t.Errorf("clean %d, suspect %d of %d", sum.Clean, sum.Suspect, n)
		}
	}
	all, err := invalidate.ReadFindings(t.Context(), r.js, r.stream)
	fatal(t, err)
	for _, f := range all {
		for i := range f.Last {
			t.Errorf("%s %s: %s; %s", f.Last[i].Key, f.Last[i].Tier, f.Last[i].Evidence(), f.Last[i].HistoryText())
		}
	}
}

// The checks find faults that nothing else detects.
func TestStalenessCheckFindsABrokenSystem(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*rig){
		"redis loses deletions": (*rig).deafen,
		"one of two invalidators has rules for another prefix": func(r *rig) {
			right := r.rules
			r.stalenessRules("elsewhere:" + r.prefix)
			cfg := r.config()
			cfg.Staleness = []time.Duration{}
			r.run(r.invalidator(cfg))
			r.rules = right
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 200
			r := newStalenessRig(t)
			fault(r)
			v := r.invalidator(r.checking(time.Second))
			r.runChecks(v)
			pipe := redisClient(t, devtest.Redis(t).URL()).Pipeline()
			for i := range n {
				pipe.Set(t.Context(), r.key(fmt.Sprintf("aged.%d", i)), "x", 30*time.Minute)
				pipe.Set(t.Context(), r.key(fmt.Sprintf("versioned.%d", i)), `{"data": {"version": 1}}`, 0)
			}
			_, err := pipe.Exec(t.Context())
			fatal(t, err)
			for i := range n {
				r.changed(fmt.Sprintf("aged.%d", i), 2)
				r.changed(fmt.Sprintf("versioned.%d", i), 2)
			}
			a := r.checked(v, 2*n)[0]
			t.Logf("%+v", a.Tally)
			if a.Violations < 10 || a.Violations+a.Absent != 2*n {
				t.Errorf("violations %d, absent %d of %d", a.Violations, a.Absent, 2*n)
			}
		})
	}
}

// A reader that is slower than the echo writes the old row after it. By its version that value is a violation, by its
// age only a suspect.
func TestStalenessCheckFindsAReaderSlowerThanTheEcho(t *testing.T) {
	t.Parallel()
	r := newStalenessRig(t)
	cfg := r.checking(2 * time.Second)
	cfg.Echo = []time.Duration{50 * time.Millisecond}
	v := r.invalidator(cfg)
	r.runChecks(v)
	for _, name := range []string{"aged.1", "versioned.1"} {
		r.changed(name, 2)
	}
	r.until(v, "echoed", func(s invalidate.Stats) bool { return s.Events == 2 && s.Echoes[0].Events == 2 })
	for _, name := range []string{"aged.1", "versioned.1"} {
		r.put(name, `{"data": {"version": 1}}`, 0)
	}
	r.tally(v, "absent=0 clean=0 suspect=1 no_ttl=0 violations=1")
	if err := errors.Join(r.rdb.Get(t.Context(), r.key("aged.1")).Err(), r.rdb.Get(t.Context(), r.key("versioned.1")).Err()); err != nil {
		t.Errorf("a staleness check deleted a key: %v", err)
	}
}
