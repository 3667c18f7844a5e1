package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A redisFault breaks the cache under load, n times. The faults of a scenario take turns.
type redisFault struct {
	fault  string
	n      int
	config devstack.RedisConfig
	// prepare, if set, is called before the invalidator starts: it may lead s.redURL elsewhere.
	prepare func(s *scene, server *devstack.Redis)
	breaks  func(s *scene, server *devstack.Redis, i int)
	heal    func(s *scene, server *devstack.Redis, i int)
}

// run has each fault pause the invalidator, makes sure that nothing is acknowledged and nothing dead-lettered
// while it lasts, and measures from its end to the first commit whose key is gone: behind all that waited.
func (f redisFault) run(t *testing.T) {
	server := devtest.OwnRedis(t, f.config)
	scenario(t, f.fault, options{}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 91))
		s.cacheIn(server)
		if f.prepare != nil {
			f.prepare(s, server)
		}
		p := s.invalidator("")
		s.relay("relay", "")
		l := s.write(6, 3*time.Millisecond, false)
		s.gone(time.Now())
		s.row.recoveries = nil // they only had to start
		for i := range f.n {
			var before uint64 // what comes behind it cannot be deleted any more
			s.says(p, "Redis commands fail", func() {
				f.breaks(s, server, i)
				before = s.state().LastSeq
			})
			pause(t.Context(), time.Duration(rng.IntN(times(500, 1000)))*time.Millisecond)
			s.nothingGivenUp(before)
			began := time.Now()
			s.says(p, "Redis commands succeed again", func() { f.heal(s, server, i) })
			s.gone(began)
			s.row.faults++
		}
		l.stop()
		s.judge()
		s.nothingDead()
	})
}

// gone caches a key, commits an event for it, and notes how long it took until the key was gone, since the fault.
func (s *scene) gone(since time.Time) {
	s.t.Helper()
	key := s.prefix + uuid.NewString()
	s.eventually(60*time.Second, "cache a key", func(ctx context.Context) error {
		return s.rdb.Set(ctx, key, "old", time.Hour).Err()
	})
	s.tell(key)
	s.vanishes(key, since)
}

// tell commits an event for a key that is no account's, and returns its subject.
func (s *scene) tell(key string) (subject string) {
	s.t.Helper()
	subject = s.stream + ".account." + strings.TrimPrefix(key, s.prefix)
	s.exec(`INSERT INTO outbox.event (subject) VALUES ($1)`, subject)
	return subject
}

// vanishes waits until a key is gone, and notes how long it took since the fault.
func (s *scene) vanishes(key string, since time.Time) {
	s.t.Helper()
	s.eventually(60*time.Second, "the key is gone", func(ctx context.Context) error {
		n, err := s.rdb.Exists(ctx, key).Result()
		if err == nil && n != 0 {
			err = errors.New("it is there")
		}
		return err
	})
	s.row.recoveries = append(s.row.recoveries, time.Since(since))
	s.row.measure = "commit to key gone"
}

// nothingGivenUp makes sure that events came behind this sequence, and that none of them is acknowledged.
func (s *scene) nothingGivenUp(seq uint64) {
	s.t.Helper()
	s.eventually(60*time.Second, "events in the outage", func(context.Context) error { return more(s.state().LastSeq, seq+1) })
	if floor := s.ackFloor(); floor > seq {
		s.t.Errorf("ack floor is %d in an outage that began at %d", floor, seq)
	}
	s.nothingDead()
}

func (s *scene) nothingDead() {
	s.t.Helper()
	if letters := s.letters(); len(letters) > 0 {
		s.t.Errorf("%d dead letters: %s", len(letters), letters[0].Header.Get(event.HeaderDeadReason))
	}
}

// letters returns the dead letters.
func (s *scene) letters() (letters []*jetstream.RawStreamMsg) {
	s.t.Helper()
	s.eventually(60*time.Second, "read the dead letters", func(ctx context.Context) error {
		letters = nil
		stream, err := s.js.Stream(ctx, s.stream+"_DEAD")
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
			msg, err := stream.GetMsg(ctx, seq)
			if err != nil {
				return err
			}
			letters = append(letters, msg)
		}
		return nil
	})
	return letters
}
