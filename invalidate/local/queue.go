package local

import (
	"slices"
	"time"
)

// A queue holds what is due later: second evictions of keys and tags, first in, first out, and flushes. Times are on the
// monotonic clock, since the base of the evictor. It belongs to one goroutine.
type queue struct {
	most    int             // evictions
	grid    time.Duration   // flushes run at multiples of it, which bounds their number
	list    []eviction      // due times never decrease
	flushes []time.Duration // multiples of grid, increasing
}

type eviction struct {
	due time.Duration
	key string
	tag bool
}

// add appends an eviction, which must not be due earlier than those before it. If the queue is full, add replaces all
// evictions by one flush when this one is due, and returns false.
func (q *queue) add(v eviction) bool {
	if len(q.list) < q.most {
		q.list = append(q.list, v)
		return true
	}
	q.list = nil
	q.flush(v.due)
	return false
}

// flush schedules a flush for due or up to a grid later.
func (q *queue) flush(due time.Duration) {
	due = (due + q.grid - 1) / q.grid * q.grid
	if i, found := slices.BinarySearch(q.flushes, due); !found {
		q.flushes = slices.Insert(q.flushes, i, due)
	}
}

// next returns the next due time, and false if nothing is scheduled.
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

// flushDue removes the flushes that are due and reports whether there were any: one flush is enough for all of them.
func (q *queue) flushDue(now time.Duration) bool {
	n, found := slices.BinarySearch(q.flushes, now)
	if found {
		n++
	}
	q.flushes = slices.Delete(q.flushes, 0, n)
	return n > 0
}

// pop removes the first eviction if it is due.
func (q *queue) pop(now time.Duration) (eviction, bool) {
	if len(q.list) == 0 || q.list[0].due > now {
		return eviction{}, false
	}
	v := q.list[0]
	q.list[0] = eviction{}
	if q.list = q.list[1:]; len(q.list) == 0 {
		q.list = nil // releases the memory of a burst
	}
	return v, true
}
