package fill

import "sync/atomic"

// Stats is what a Cache did since New.
type Stats struct {
	Hits    int64 // calls of Get that found the value at the first look
	Misses  int64 // calls that did not, also because Redis did not answer
	Loads   int64 // calls of load, which several misses may share
	Fills   int64 // values that Redis took
	Refused int64 // values that it did not, since their token was gone
	Waits   int64 // misses that found the token with another process, shared ones counted once
	Errors  int64 // errors that OnError heard
}

type stats struct {
	hits, misses, loads, fills, refused, waits, errors atomic.Int64
}

// count counts a first look.
func (s *stats) count(hit bool) {
	if hit {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
	}
}

// Stats returns what was done so far. It is safe for concurrent use; the counts may be of slightly different moments.
func (c *Cache[V]) Stats() Stats {
	s := &c.stats
	return Stats{
		Hits: s.hits.Load(), Misses: s.misses.Load(), Loads: s.loads.Load(), Fills: s.fills.Load(),
		Refused: s.refused.Load(), Waits: s.waits.Load(), Errors: s.errors.Load(),
	}
}
