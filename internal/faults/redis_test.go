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

// A redisFault makes the cache unavailable n times, under load. inject and heal receive the number of the fault, so
// that a scenario can alternate between several faults.
type redisFault struct {
	fault  string
	n      int
	config devstack.RedisConfig
	// prepare is called before the invalidator starts, and may change s.redURL. It may be nil.
	prepare func(s *scenario, server *devstack.Redis)
	inject  func(s *scenario, server *devstack.Redis, i int)
	heal    func(s *scenario, server *devstack.Redis, i int)
}

// run requires that each fault pauses the invalidator, and that during the fault no event is acknowledged and no dead
// letter stored. It measures the time from the end of the fault until the key of a new event is deleted, which happens
// after all delayed events.
func (f redisFault) run(t *testing.T) {
	server := devtest.OwnRedis(t, f.config)
	runScenario(t, f.fault, options{}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 91))
		s.useRedis(server)
		if f.prepare != nil {
			f.prepare(s, server)
		}
		p := s.startInvalidator("")
		s.startRelay("relay", "")
		l := s.startLoad(6, 3*time.Millisecond, false)
		s.measureInvalidation(time.Now())
		s.row.recoveries = nil // the first measurement contains the start of the programs
		for i := range f.n {
			var before uint64 // last sequence at the start of the fault; keys of later events cannot be deleted
			s.awaitLog(p, "Redis commands fail", func() {
				f.inject(s, server, i)
				before = s.awaitState().LastSeq
			})
			pause(t.Context(), time.Duration(rng.IntN(times(500, 1000)))*time.Millisecond)
			s.checkNothingAcked(before)
			began := time.Now()
			s.awaitLog(p, "Redis commands succeed again", func() { f.heal(s, server, i) })
			s.measureInvalidation(began)
			s.row.faults++
		}
		l.stop()
		s.verify()
		s.checkNoDeadLetters()
	})
}

// measureInvalidation caches a key, inserts an event for it, waits until the key is deleted, and records the time since
// the fault.
func (s *scenario) measureInvalidation(since time.Time) {
	s.t.Helper()
	key := s.prefix + uuid.NewString()
	s.eventually(60*time.Second, "key cached", func(ctx context.Context) error {
		return s.rdb.Set(ctx, key, "old", time.Hour).Err()
	})
	s.insertFor(key)
	s.awaitDeleted(key, since)
}

// insertFor inserts an event for which the rules delete a key.
func (s *scenario) insertFor(key string) {
	s.t.Helper()
	s.exec(`INSERT INTO outbox.event (subject) VALUES ($1)`, s.stream+".account."+strings.TrimPrefix(key, s.prefix))
}

// awaitDeleted waits until a key is deleted, and records the time since the fault.
func (s *scenario) awaitDeleted(key string, since time.Time) {
	s.t.Helper()
	s.eventually(60*time.Second, "key deleted", func(ctx context.Context) error {
		n, err := s.rdb.Exists(ctx, key).Result()
		if err == nil && n != 0 {
			err = errors.New("the key exists")
		}
		return err
	})
	s.row.recoveries = append(s.row.recoveries, time.Since(since))
	s.row.measure = "commit to key deleted"
}

// checkNothingAcked waits until the stream has events after a sequence, and requires that none of them is acknowledged
// and that there are no dead letters.
func (s *scenario) checkNothingAcked(seq uint64) {
	s.t.Helper()
	s.eventually(60*time.Second, "new events during the fault", func(ctx context.Context) error {
		state, err := s.streamState(ctx)
		if err != nil {
			return err
		}
		return atLeast(state.LastSeq, seq+1)
	})
	if floor := s.ackFloor(); floor > seq {
		s.t.Errorf("got ack floor %d during a fault, want at most %d", floor, seq)
	}
	s.checkNoDeadLetters()
}

func (s *scenario) checkNoDeadLetters() {
	s.t.Helper()
	if letters := s.deadLetters(); len(letters) > 0 {
		s.t.Errorf("got %d dead letters, want 0; the first one: %s", len(letters), letters[0].Header.Get(event.HeaderDeadReason))
	}
}

// deadLetters reads the dead letters.
func (s *scenario) deadLetters() (letters []*jetstream.RawStreamMsg) {
	s.t.Helper()
	s.eventually(60*time.Second, "dead letters read", func(ctx context.Context) error {
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
