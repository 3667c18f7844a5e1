package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// catchUpTimeout bounds how long a fault waits for its backlog to be processed under load.
const catchUpTimeout = 30 * time.Second

// A state is what the goroutines of a run share with each other and with the panel. It is safe for concurrent use.
type state struct {
	duration time.Duration
	over     chan struct{} // closed when the panel has nothing more to show

	mu     sync.Mutex
	began  time.Time // when the load began; zero before
	phase  string
	broken bool     // something is broken on purpose
	lines  []string // logged, not yet shown

	committed, published, evicted int64
	lag                           time.Duration // approximate age of the oldest event that is not published
	measured                      time.Time     // when the sample of these figures began
	maxPending                    int64
}

func newState(d time.Duration) *state {
	return &state{duration: d, over: make(chan struct{}), phase: "starting"}
}

func (s *state) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began, s.phase = time.Now(), "running"
}

// enter begins a phase in which nothing is broken on purpose.
func (s *state) enter(phase string) { s.set(phase, false) }

// enterBroken begins a phase in which something is.
func (s *state) enterBroken(phase string) { s.set(phase, true) }

func (s *state) set(phase string, broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.broken = phase, broken
}

// log adds a line, with the time since the load began, that stays above the panel.
func (s *state) log(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("%5.1f s  ", time.Since(s.began).Seconds())+fmt.Sprintf(format, args...))
}

// takeLines returns the lines logged since the last call.
func (s *state) takeLines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

// elapsed returns the time since the load began; 0 before.
func (s *state) elapsed() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.IsZero() {
		return 0
	}
	return time.Since(s.began)
}

// measure records a sample that began at a time.
func (s *state) measure(at time.Time, committed, published, evicted int64, lag time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed, s.published, s.evicted, s.measured, s.lag = committed, max(published, s.published), evicted, at, lag
	s.maxPending = max(s.maxPending, s.committed-s.published)
}

func (s *state) pending() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.committed-s.published, 0)
}

// await waits until the load has run for a time. It returns the cause of ctx if ctx ends first.
func (s *state) await(ctx context.Context, since time.Duration) error {
	if wait.For(ctx, since-s.elapsed()) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// awaitPublished waits until a sample that began after a time finds almost no event pending: fewer than the load commits in
// a tenth of a second, or at most ten. It returns false if that takes longer than catchUpTimeout, or if ctx ends.
func (s *state) awaitPublished(ctx context.Context, after time.Time) bool {
	return s.awaitCount(ctx, after, &s.published)
}

// awaitEvicted is like awaitPublished for events whose keys are deleted.
func (s *state) awaitEvicted(ctx context.Context, after time.Time) bool {
	return s.awaitCount(ctx, after, &s.evicted)
}

func (s *state) awaitCount(ctx context.Context, after time.Time, count *int64) bool {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	return wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		tenth := int64(float64(s.committed) / max(time.Since(s.began).Seconds(), 1) / 10)
		return s.measured.After(after) && s.committed-*count <= max(tenth, 10), nil
	}) == nil
}
