package local

import "sync"

// Stats counts what an evictor has done since New. All counts are of the same moment.
type Stats struct {
	Events      int64 // events received, without the markers of parked ones
	Keys        int64 // keys evicted when their event arrived
	Tags        int64 // tags evicted, or flushed for, when their event arrived
	Repeated    int64 // keys and tags evicted for the second time
	Flushes     int64 // flushes for any reason, second ones included
	Gaps        int64 // times that events may have been missed; each caused a flush
	Unconfirmed int64 // times that Config.MaxUnconfirmed passed without a confirmation; each caused a flush
	Poison      int64 // events that lack what a rule requires; each caused a flush, shared by events close together
	Overflows   int64 // times that more than Config.MaxPending second evictions became one flush
	Consumers   int64 // consumers created; the first one caused a flush
	Pending     int   // second evictions that are not due yet
}

// stats is a Stats that the goroutine of the eviction loop updates.
type stats struct {
	mu  sync.Mutex
	now Stats
}

func (s *stats) update(change func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

func (s *stats) snapshot() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
