package fill

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errExit is the error of a load that ended its goroutine.
var errExit = errors.New("load called runtime.Goexit")

// An outcome is what the callers that share a flight get.
type outcome[V any] struct {
	value V
	since time.Time // the value was not stale at this moment, or at a later one
	err   error
}

// flights are the lookups and loads running in this process, at most one for each name. They differ from
// golang.org/x/sync/singleflight in two ways: the context of a flight is canceled when its last caller has left, and a
// caller can detect that the flight began too early for it.
type flights[V any] struct {
	mu      sync.Mutex
	open    map[string]*flight[V]
	running sync.WaitGroup
}

// A flight is one goroutine. It sets out before it closes done.
type flight[V any] struct {
	done    chan struct{}
	out     outcome[V]
	cancel  context.CancelFunc
	callers int // guarded by flights.mu
}

// join waits for the flight of that name. If there is none, join starts one, with the values of ctx. It returns at once
// when ctx ends; the flight continues as long as another caller waits for it.
func (s *flights[V]) join(ctx context.Context, name string, work func(context.Context) outcome[V]) (outcome[V], error) {
	f := s.enter(ctx, name, work)
	select {
	case <-f.done:
		return f.out, nil
	case <-ctx.Done():
		s.leave(name, f)
		return outcome[V]{}, ctx.Err()
	}
}

// enter counts the caller in and starts the flight if there is none.
func (s *flights[V]) enter(ctx context.Context, name string, work func(context.Context) outcome[V]) *flight[V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.open[name]
	if f == nil {
		f = &flight[V]{done: make(chan struct{}), out: outcome[V]{err: errExit}}
		ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
		if s.open == nil {
			s.open = make(map[string]*flight[V])
		}
		s.open[name] = f
		s.running.Go(func() {
			defer s.finish(name, f)
			f.out = work(ctx)
		})
	}
	f.callers++
	return f
}

// finish removes the flight before it closes done, so that later callers start another one.
func (s *flights[V]) finish(name string, f *flight[V]) {
	s.forget(name, f)
	f.cancel()
	close(f.done)
}

// leave counts the caller out. The last one cancels the flight.
func (s *flights[V]) leave(name string, f *flight[V]) {
	s.mu.Lock()
	f.callers--
	empty := f.callers == 0
	if empty && s.open[name] == f {
		delete(s.open, name)
	}
	s.mu.Unlock()
	if empty {
		f.cancel()
	}
}

// forget removes the flight unless another one has taken its name.
func (s *flights[V]) forget(name string, f *flight[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[name] == f {
		delete(s.open, name)
	}
}
