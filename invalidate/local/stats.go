package local

import "sync"

// Stats is what an evictor did since New, as of one moment.
type Stats struct {
	Events    int64 // that came, markers of parked ones not among them
	Keys      int64 // evicted when their event came
	Tags      int64 // evicted when their event came, or flushed for
	Again     int64 // keys and tags evicted for the second time
	Flushes   int64 // for whatever reason, second ones too
	Gaps      int64 // times that events may have been missed; each flushed
	Blind     int64 // times that Config.MaxSilent went by without word that nothing is missing; each flushed
	Poison    int64 // events that lack what a rule needs; each flushed, several at once together
	Overflows int64 // times that more than Config.MaxPending second evictions became a flush
	Opened    int64 // consumers made; the first one flushed
	Pending   int   // second evictions to come
}

// stats is the Stats being counted, by the goroutine of the keeper.
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
