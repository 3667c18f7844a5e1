package stream

import (
	"slices"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// BaseLog maps positions to sequences of one stream: sequence = position + base, by the newest row of the log that holds for
// the position. The table outbox.base is the log.
type BaseLog struct {
	Stream table.Stream
	All    []table.Base // of every stream, oldest first
}

// rows yields the rows of the stream, newest first.
func (l BaseLog) rows(yield func(table.Base) bool) {
	for _, b := range slices.Backward(l.All) {
		if Same(b.Stream, l.Stream) && !yield(b) {
			return
		}
	}
}

// Rows yields the rows of the stream, newest first.
func (l BaseLog) Rows() func(yield func(table.Base) bool) { return l.rows }

// Newest returns the newest row of the stream.
func (l BaseLog) Newest() (table.Base, bool) {
	for b := range l.rows {
		return b, true
	}
	return table.Base{}, false
}

// Started reports whether a relay has ever written to the stream as its only writer.
func (l BaseLog) Started() bool {
	_, ok := l.Newest()
	return ok
}

// Recreated reports whether the log knows another stream of the same name, and not this one.
func (l BaseLog) Recreated() bool {
	return !l.Started() && slices.ContainsFunc(l.All, func(b table.Base) bool { return b.Stream.Name == l.Stream.Name })
}

// NextNumber is the number of the row to append. Only one relay can append it.
func (l BaseLog) NextNumber() int64 {
	if n := len(l.All); n > 0 {
		return l.All[n-1].N + 1
	}
	return 1
}

// First is the lowest position that was ever meant for the stream.
func (l BaseLog) First() int64 {
	first := int64(0)
	for b := range l.rows {
		if first == 0 || b.From < first {
			first = b.From
		}
	}
	return first
}

// BaseOf returns the base of a position.
func (l BaseLog) BaseOf(position int64) (base int64, ok bool) {
	for b := range l.rows {
		if b.From <= position {
			return b.Base, true
		}
	}
	return 0, false
}

// PositionAt returns the position that belongs at a sequence. If a foreign message is known to be there, belongs is false
// and the position is the one before. The sequences before the first position of the stream have First()-1.
func (l BaseLog) PositionAt(sequence uint64) (position int64, belongs bool) {
	ceiling := int64(-1) // a newer row puts the positions from here on further on
	for b := range l.rows {
		p := int64(sequence) - b.Base
		if p >= b.From && ceiling >= 0 && p >= ceiling {
			return ceiling - 1, false
		}
		if p >= b.From {
			return p, true
		}
		if ceiling < 0 || b.From < ceiling {
			ceiling = b.From
		}
	}
	return l.First() - 1, false
}

// LastPosition returns the position of the last event at a sequence or before it, 0 before the first. It is not known
// for a stream that no relay has written to as its only writer.
func (l BaseLog) LastPosition(sequence uint64) (position int64, known bool) {
	if !l.Started() {
		return 0, false
	}
	position, _ = l.PositionAt(sequence)
	return max(position, 0), true
}
