package demo

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// catchUpTimeout bounds the wait for a backlog to end while the load goes on.
const catchUpTimeout = 30 * time.Second

// A board is where the actors write what they do, for the panel and for each other. Safe for concurrent use.
type board struct {
	duration time.Duration
	over     chan struct{} // closed when there is nothing more to show

	mu     sync.Mutex
	began  time.Time // of the load; zero before
	phase  string
	broken bool     // something is broken on purpose
	lines  []string // said and not shown yet

	committed, published, evicted int64
	lag                           time.Duration // age of the oldest event that is not published, about
	measured                      time.Time     // when the look that found this began
	maxPending                    int64
}

func newBoard(d time.Duration) *board {
	return &board{duration: d, over: make(chan struct{}), phase: "starting"}
}

func (b *board) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.began, b.phase = time.Now(), "running"
}

// enter begins a phase in which nothing is broken on purpose.
func (b *board) enter(phase string) { b.set(phase, false) }

// break_ begins a phase in which something is.
func (b *board) break_(phase string) { b.set(phase, true) }

func (b *board) set(phase string, broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.phase, b.broken = phase, broken
}

// say adds a line that stays above the panel.
func (b *board) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf("%5.1f s  ", time.Since(b.began).Seconds())+fmt.Sprintf(format, args...))
}

// said takes the lines that were not shown yet.
func (b *board) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.lines
	b.lines = nil
	return lines
}

// elapsed is the time since the load began; 0 before.
func (b *board) elapsed() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.began.IsZero() {
		return 0
	}
	return time.Since(b.began)
}

// measure notes what a look found that began at a time.
func (b *board) measure(at time.Time, committed, published, evicted int64, lag time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.committed, b.published, b.evicted, b.measured, b.lag = committed, max(published, b.published), evicted, at, lag
	b.maxPending = max(b.maxPending, b.committed-b.published)
}

func (b *board) pending() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(b.committed-b.published, 0)
}

// await returns when so much time has passed since the load began, or with the error of ctx.
func (b *board) await(ctx context.Context, since time.Duration) error {
	timer := time.NewTimer(since - b.elapsed())
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// awaitCaughtUp waits until a look that began after a time finds next to nothing pending, or, of what is evicted, not
// evicted: what comes in within a tenth of a second of the load so far.
func (b *board) awaitCaughtUp(ctx context.Context, after time.Time, evicted bool) bool {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	return poll(ctx, 20*time.Millisecond, func() (bool, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		done := b.published
		if evicted {
			done = b.evicted
		}
		tenth := int64(float64(b.committed) / max(time.Since(b.began).Seconds(), 1) / 10)
		return b.measured.After(after) && b.committed-done <= max(tenth, 10), nil
	}) == nil
}
