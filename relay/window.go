package relay

import "time"

// window holds what was published and is not acknowledged: the positions first … next-1, in order. The server acknowledges each of
// them. first moves past acknowledged positions, so everything before it is in the stream. One goroutine owns it.
type window struct {
	maxEvents, maxBytes int

	first, next int64 // positions
	bytes       int
	probe       bool   // allow one message only, until it is acknowledged
	slots       []slot // ring: position p is at p modulo its length
}

type slot struct {
	bytes    int
	acked    bool
	marker   bool // of a parked event
	sequence uint64
	created  time.Time // when the event was inserted
}

func newWindow(events, bytes int, next int64) *window {
	return &window{maxEvents: events, maxBytes: bytes, probe: true, first: next, next: next, slots: make([]slot, events)}
}

func (w *window) len() int                  { return int(w.next - w.first) }
func (w *window) at(position int64) *slot   { return &w.slots[position%int64(len(w.slots))] }
func (w *window) holds(position int64) bool { return position >= w.first && position < w.next }

// waits reports whether a position is in flight and not acknowledged.
func (w *window) waits(position int64) bool { return w.holds(position) && !w.at(position).acked }

// full reports that nothing more may be published before an ack. One message fits however large it is. The first message
// after a pause goes alone (probe): if a foreign message came meanwhile, the server rejects this one message. In a full window
// it would reject as many as there are foreign ones and accept the rest.
func (w *window) full() bool {
	return w.probe && w.len() > 0 || w.len() >= w.maxEvents || w.len() > 0 && w.bytes >= w.maxBytes
}

// add appends the next position.
func (w *window) add(s slot) {
	*w.at(w.next) = s
	w.next++
	w.bytes += s.bytes
}

// ack marks a position as acknowledged. It then removes the first positions that are, and calls each for every one of them in order.
func (w *window) ack(position int64, sequence uint64, each func(position int64, s *slot)) {
	if !w.holds(position) {
		return
	}
	s := w.at(position)
	s.acked, s.sequence = true, sequence
	for w.first < w.next && w.at(w.first).acked {
		s := w.at(w.first)
		each(w.first, s)
		w.bytes -= s.bytes
		w.first++
		w.probe = false
	}
}
