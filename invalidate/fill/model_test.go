package fill_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/fill"
)

// A world is one row, its cached value and some readers that have read the row, advanced by one act at a time. Its
// invariant: no cached version is older than the last invalidation.
type world struct {
	ctx     context.Context
	rdb     *redis.Client
	key     string
	plain   bool // readers GET, SELECT, SETEX
	version int  // of the row
	deleted int  // its version at the last invalidation
	readers []*reader
	err     error
}

type reader struct {
	stall *stall
	done  chan error
}

const acts = 8

func (w *world) act(act, which int) {
	switch act {
	case 0, 1: // a reader begins, and reads the row if it misses
		w.begin()
	case 2, 3: // a reader finishes
		if len(w.readers) > 0 {
			i := which % len(w.readers)
			w.finish(w.readers[i])
			w.readers = append(w.readers[:i], w.readers[i+1:]...)
		}
	case 4: // a commit
		w.version++
	case 5: // its invalidation, like the invalidator's
		w.deleted = w.version
		w.do("unlink", w.key, tokenOf(w.key))
	case 6:
		w.do("del", w.key) // the value expires
	case 7:
		w.do("del", tokenOf(w.key)) // the token expires
	}
}

func (w *world) do(args ...any) {
	if err := w.rdb.Do(w.ctx, args...).Err(); err != nil {
		w.err = err
	}
}

func (w *world) begin() {
	r := &reader{&stall{read: make(chan struct{}), proceed: make(chan struct{})}, make(chan error, 1)}
	text := strconv.Itoa(w.version)
	load := r.stall.of(func(context.Context) (string, error) { return text, nil })
	go func() { r.done <- w.read(load) }()
	select {
	case <-r.stall.read:
		w.readers = append(w.readers, r)
	case err := <-r.done: // a hit
		if err != nil {
			w.err = err
		}
	}
}

// read is one reader, in a process of its own.
func (w *world) read(load func(context.Context) (string, error)) error {
	if w.plain {
		if w.rdb.Get(w.ctx, w.key).Err() == nil {
			return nil
		}
		text, _ := load(w.ctx)
		return w.rdb.Set(w.ctx, w.key, text, ttl).Err()
	}
	c, err := fill.New(w.rdb, fill.Config[string]{Codec: fill.Raw[string]{}, WaitMax: 1, RedisTimeout: 20 * time.Second})
	if err == nil {
		_, err = c.Get(w.ctx, w.key, ttl, load)
	}
	return err
}

func (w *world) finish(r *reader) {
	r.stall.end()
	if err := <-r.done; err != nil {
		w.err = err
	}
}

// holds reports whether the invariant holds, and returns the first error of Redis.
func (w *world) holds() (bool, error) {
	text, err := w.rdb.Get(w.ctx, w.key).Result()
	if err == redis.Nil {
		return true, w.err
	}
	version, _ := strconv.Atoi(text)
	if w.err == nil {
		w.err = err
	}
	return version >= w.deleted, w.err
}

func (w *world) end() {
	for _, r := range w.readers {
		w.finish(r)
	}
	w.readers = nil
}

// No old value stays, in any order of readers, writers, invalidations and lost tokens.
func TestModel(t *testing.T) {
	t.Parallel()
	rdb, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	var worlds int
	rapid.Check(t, func(rt *rapid.T) {
		worlds++
		w := &world{ctx: t.Context(), rdb: rdb, key: prefix + strconv.Itoa(worlds)}
		defer w.end()
		for range rapid.IntRange(5, 40).Draw(rt, "length") {
			w.act(rapid.IntRange(0, acts-1).Draw(rt, "act"), rapid.IntRange(0, 5).Draw(rt, "which"))
			if ok, err := w.holds(); err != nil || !ok {
				rt.Fatalf("an old version is cached, or %v", err)
			}
		}
	})
}

// Plain readers break the invariant, so the model can detect a violation.
func TestModelNoticesPlainReaders(t *testing.T) {
	t.Parallel()
	rdb, prefix := devtest.RedisClient(t), devtest.Prefix(t)
	moves := rapid.SliceOfN(rapid.IntRange(0, acts*6-1), 5, 40)
	broken := 0
	for seed := range 100 {
		w := &world{ctx: t.Context(), rdb: rdb, key: prefix + strconv.Itoa(seed), plain: true}
		for _, move := range moves.Example(seed) {
			w.act(move%acts, move/acts)
			ok, err := w.holds()
			fatal(t, err)
			if !ok {
				broken++
				break
			}
		}
		w.end()
	}
	t.Logf("plain readers broke the invariant in %d of 100 worlds", broken)
	if broken == 0 {
		t.Error("plain readers broke nothing, so the model detects nothing")
	}
}

// With readers of several processes and a writer at full speed, no caller gets a version that was invalidated before its
// call, and none stays in the cache. Plain readers get such versions, which shows that the test detects them.
func TestStress(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		s := &stress{rdb: devtest.RedisClient(t), prefix: devtest.Prefix(t), plain: plain}
		for range 4 {
			s.caches = append(s.caches, newTexts(t, s.rdb, fill.Config[string]{}))
		}
		s.run(t, 700*time.Millisecond)
		t.Logf("plain %v: %d reads, %d invalidations, %d stale reads, %d of %d keys stale at the end",
			plain, s.reads.Load(), s.writes.Load(), s.stale.Load(), s.stuck(t), len(s.rows))
		if !plain && (s.stale.Load() > 0 || s.stuck(t) > 0) {
			t.Error("readers with tokens got stale values")
		}
		if plain && s.stale.Load() == 0 {
			t.Error("plain readers got nothing stale, so the test detects nothing")
		}
	}
}

type stress struct {
	rdb                  *redis.Client
	prefix               string
	plain                bool
	caches               []*texts
	rows                 [10]struct{ row, gone row } // gone is the version at the last invalidation
	reads, writes, stale atomic.Int64
}

func (s *stress) run(t *testing.T, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				s.read(t, n%len(s.rows), s.caches[i%len(s.caches)])
			}
		})
	}
	all.Go(func() { // one writer: a version is invalidated before the next one
		for n := 0; ctx.Err() == nil; n++ {
			one := &s.rows[n%len(s.rows)]
			version := one.row.version.Add(1)
			key := s.key(n % len(s.rows))
			if err := s.rdb.Unlink(t.Context(), key, tokenOf(key)).Err(); err != nil {
				t.Error(err)
			}
			one.gone.version.Store(version)
			s.writes.Add(1)
		}
	})
	all.Wait()
}

func (s *stress) key(i int) string { return s.prefix + strconv.Itoa(i) }

func (s *stress) read(t *testing.T, i int, c *texts) {
	one, key := &s.rows[i], s.key(i)
	load := func(context.Context) (string, error) {
		text := one.row.text()
		if n := s.reads.Load(); n%3 == 0 {
			<-time.After(time.Duration(n%7) * 300 * time.Microsecond) // some readers are slow
		}
		return text, nil
	}
	least := one.gone.version.Load()
	text, err := "", error(nil)
	if !s.plain {
		text, err = c.Get(t.Context(), key, ttl, load)
	} else if text, err = s.rdb.Get(t.Context(), key).Result(); err == redis.Nil {
		text, _ = load(t.Context())
		err = s.rdb.Set(t.Context(), key, text, ttl).Err()
	}
	if err != nil {
		t.Error(err)
	}
	s.reads.Add(1)
	if versionOf(text) < least {
		s.stale.Add(1)
	}
}

// stuck counts the cached values that are older than their invalidation.
func (s *stress) stuck(t *testing.T) (n int) {
	for i := range s.rows {
		if text := cached(t, s.rdb, s.key(i)); text != "" && versionOf(text) < s.rows[i].gone.version.Load() {
			n++
		}
	}
	return n
}

func versionOf(text string) int64 {
	version, _ := strconv.ParseInt(text[1:], 10, 64)
	return version
}
