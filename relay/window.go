package relay

import "time"

// window is what was published and is not acknowledged: positions first … next-1, in order. Each is acknowledged by
// itself, and first moves over those that are: everything before it is in the stream. One goroutine owns it.
type window struct {
	maxEvents, maxBytes int

	first, next int64 // of positions
	bytes       int
	probe       bool   // one message only, until it has come through
	slots       []slot // ring: position p is at p modulo len
}

type slot struct {
	bytes    int
	acked    bool
	marker   bool // stands in for a parked event
	sequence uint64
	created  time.Time // of the event
}

func newWindow(events, bytes int, next int64) *window {
	return &window{maxEvents: events, maxBytes: bytes, probe: true, first: next, next: next, slots: make([]slot, events)}
}

func (w *window) len() int                  { return int(w.next - w.first) }
func (w *window) at(position int64) *slot   { return &w.slots[position%int64(len(w.slots))] }
func (w *window) holds(position int64) bool { return position >= w.first && position < w.next }

// waits says that a position is in flight, and not acknowledged.
func (w *window) waits(position int64) bool { return w.holds(position) && !w.at(position).acked }

// full says that nothing more may be published before an ack. One message fits however large it is, and the first one
// after some quiet goes alone (probe): if a foreign message came meanwhile, the server refuses this one, where in a full window
// it would refuse as many as there are foreign ones and take the rest.
func (w *window) full() bool {
	return w.probe && w.len() > 0 || w.len() >= w.maxEvents || w.len() > 0 && w.bytes >= w.maxBytes
}

// add takes the next position in.
func (w *window) add(s slot) {
	*w.at(w.next) = s
	w.next++
	w.bytes += s.bytes
}

// ack marks a position, takes out the first ones that are marked, and calls each for every one of them in order.
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
