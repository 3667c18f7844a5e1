package fill

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errExit is the error of a load that ended its goroutine.
var errExit = errors.New("load called runtime.Goexit")

// An outcome is what callers that share a flight get.
type outcome[V any] struct {
	value V
	since time.Time // the value was not stale at this moment, or at a later one
	err   error
}

// flights are the lookups and loads under way in this process, one for each name. Other than those of x/sync/singleflight
// they end their context when the last caller has left, and a caller can tell whether one came too early for it.
type flights[V any] struct {
	mu      sync.Mutex
	open    map[string]*flight[V]
	running sync.WaitGroup
}

// A flight is one goroutine, which sets out and then closes done.
type flight[V any] struct {
	done    chan struct{}
	out     outcome[V]
	cancel  context.CancelFunc
	callers int // guarded by flights.mu
}

// join waits for the flight of that name, and starts it if there is none, with the values of ctx. It returns at once when
// ctx ends; the flight goes on as long as anyone waits for it.
func (s *flights[V]) join(ctx context.Context, name string, work func(context.Context) outcome[V]) (outcome[V], error) {
	f := s.board(ctx, name, work)
	select {
	case <-f.done:
		return f.out, nil
	case <-ctx.Done():
		s.leave(name, f)
		return outcome[V]{}, ctx.Err()
	}
}

func (s *flights[V]) board(ctx context.Context, name string, work func(context.Context) outcome[V]) *flight[V] {
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
			defer s.land(name, f)
			f.out = work(ctx)
		})
	}
	f.callers++
	return f
}

// land comes before done is closed: who calls from now on starts another flight.
func (s *flights[V]) land(name string, f *flight[V]) {
	s.forget(name, f)
	f.cancel()
	close(f.done)
}

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

func (s *flights[V]) forget(name string, f *flight[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[name] == f {
		delete(s.open, name)
	}
}
