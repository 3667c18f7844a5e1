package invalidate

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

const (
	historyKeys  = 10_000 // keys whose history is known
	historyDepth = 8      // traces of one key
)

// A Trace is what a consumer of this process did to a key.
type Trace struct {
	Time     time.Time `json:"time"`     // after Redis had answered
	Consumer string    `json:"consumer"` // who
	Sequence uint64    `json:"sequence"` // of the event, in the stream
	Did      string    `json:"did"`      // one of Unlinked, Kept and Skipped
	Asked    int       `json:"asked"`    // keys of the batch that this was part of
	Existed  int       `json:"existed"`  // of these, those that Redis said were there, fill tokens included
}

// What a consumer can have done.
const (
	Unlinked = "unlinked" // Redis said yes to its deletion
	Kept     = "kept"     // an echo left it, since its value showed a version that was new enough
	Skipped  = "skipped"  // every value that the event made stale had expired, by the ttl of the rule
)

// A history has the last traces of keys of sampled events, to go with a violation: of this process only, and of as
// many keys as were last deleted. Safe for concurrent use.
type history struct {
	mu    sync.Mutex
	pasts map[string]*list.Element // of *past
	order list.List                // the key that was longest not deleted first
}

type past struct {
	key    string
	traces []Trace // the oldest first
}

func newHistory() *history { return &history{pasts: make(map[string]*list.Element)} }

func (h *history) note(key string, t Trace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.pasts[key]
	if e == nil {
		if h.order.Len() == historyKeys {
			oldest := h.order.Front()
			delete(h.pasts, oldest.Value.(*past).key)
			h.order.Remove(oldest)
		}
		e = h.order.PushBack(&past{key: key})
		h.pasts[key] = e
	}
	h.order.MoveToBack(e)
	p := e.Value.(*past)
	if len(p.traces) == historyDepth {
		p.traces = append(p.traces[:0], p.traces[1:]...)
	}
	p.traces = append(p.traces, t)
}

// of returns the traces of a key, the oldest first; empty if none are known.
func (h *history) of(key string) []Trace {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.pasts[key]; e != nil {
		return slices.Clone(e.Value.(*past).traces)
	}
	return []Trace{}
}

// A noter notes what one lane does to the keys of sampled events, batch by batch. It belongs to the goroutine of the
// lane; nil notes nothing.
type noter struct {
	history *history
	sample  sample
	noted   []noted
}

type noted struct {
	key string
	seq uint64
	did string
}

func (n *noter) reset() {
	if n != nil {
		clear(n.noted)
		n.noted = n.noted[:0]
	}
}

// take takes the keys of a message that was just added to the batch.
func (n *noter) take(msg jetstream.Msg, found []rules.Deletion, expired func(*rules.Deletion, jetstream.Msg) bool) {
	if n == nil || !n.sample.takes(msg) || marker(msg) {
		return
	}
	seq := sequence(msg.Reply())
	for i := range found {
		if d := &found[i]; d.Tag {
			continue
		} else if expired(d, msg) {
			n.noted = append(n.noted, noted{d.Key, seq, Skipped})
		} else {
			n.noted = append(n.noted, noted{d.Key, seq, Unlinked})
		}
	}
}

// write writes down what became of the keys that were taken.
func (n *noter) write(consumer string, b *batch, deleted int) {
	if n == nil || len(n.noted) == 0 {
		return
	}
	now := time.Now()
	var dropped map[string]bool // of those that were checked first
	if len(b.checks) > 0 {
		dropped = make(map[string]bool, len(b.keys))
		for _, key := range b.keys {
			dropped[key] = true
		}
	}
	for _, k := range n.noted {
		if k.did == Unlinked && dropped != nil && !dropped[k.key] {
			k.did = Kept
		}
		n.history.note(k.key, Trace{Time: now, Consumer: consumer, Sequence: k.seq, Did: k.did, Asked: b.asked, Existed: deleted})
	}
}
