package fill

import "sync/atomic"

// Stats counts what a Cache has done since New.
type Stats struct {
	Hits    int64 // calls of Get that found the value in their first step
	Misses  int64 // calls of Get that did not, including those that got no answer from Redis
	Loads   int64 // calls of load, which several misses can share
	Fills   int64 // values that Redis accepted
	Refused int64 // values that Redis refused because their token was gone
	Waits   int64 // misses that found the token taken by another process; shared misses count once
	Errors  int64 // errors passed to OnError
}

type stats struct {
	hits, misses, loads, fills, refused, waits, errors atomic.Int64
}

// count counts the first step of a Get.
func (s *stats) count(hit bool) {
	if hit {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
	}
}

// Stats returns the counts. It is safe for concurrent use, and takes no snapshot: the counts may be of slightly different
// moments.
func (c *Cache[V]) Stats() Stats {
	s := &c.stats
	return Stats{
		Hits: s.hits.Load(), Misses: s.misses.Load(), Loads: s.loads.Load(), Fills: s.fills.Load(),
		Refused: s.refused.Load(), Waits: s.waits.Load(), Errors: s.errors.Load(),
	}
}
