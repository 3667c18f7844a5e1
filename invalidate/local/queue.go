package local

import (
	"slices"
	"time"
)

// A queue is what has to be done later: keys and tags to evict for the second time, first in, first out, and flushes.
// Times are monotonic, since some base. It belongs to one goroutine.
type queue struct {
	most    int             // evictions
	grid    time.Duration   // flushes are done at multiples of it, so that they are few
	list    []eviction      // due times never decrease
	flushes []time.Duration // multiples of grid, increasing
}

type eviction struct {
	due time.Duration
	key string
	tag bool
}

// add puts an eviction at the end, no earlier than those before it. If there are too many, all of them become a flush
// when this one is due, and add says false.
func (q *queue) add(v eviction) bool {
	if len(q.list) < q.most {
		q.list = append(q.list, v)
		return true
	}
	q.list = nil
	q.flush(v.due)
	return false
}

// flush plans one for due or up to a grid later.
func (q *queue) flush(due time.Duration) {
	due = (due + q.grid - 1) / q.grid * q.grid
	if i, found := slices.BinarySearch(q.flushes, due); !found {
		q.flushes = slices.Insert(q.flushes, i, due)
	}
}

// next returns when something is due, and false if nothing is planned.
func (q *queue) next() (time.Duration, bool) {
	switch {
	case len(q.list) == 0 && len(q.flushes) == 0:
		return 0, false
	case len(q.list) == 0:
		return q.flushes[0], true
	case len(q.flushes) == 0:
		return q.list[0].due, true
	}
	return min(q.list[0].due, q.flushes[0]), true
}

// flushDue takes the flushes that are due and says whether there are any: one does for all.
func (q *queue) flushDue(now time.Duration) bool {
	n, found := slices.BinarySearch(q.flushes, now)
	if found {
		n++
	}
	q.flushes = slices.Delete(q.flushes, 0, n)
	return n > 0
}

// pop takes the first eviction if it is due.
func (q *queue) pop(now time.Duration) (eviction, bool) {
	if len(q.list) == 0 || q.list[0].due > now {
		return eviction{}, false
	}
	v := q.list[0]
	q.list[0] = eviction{}
	if q.list = q.list[1:]; len(q.list) == 0 {
		q.list = nil // gives back the memory of a burst
	}
	return v, true
}
