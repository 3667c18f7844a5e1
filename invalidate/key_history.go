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
	historyKeys  = 10_000 // keys whose history is kept
	historyDepth = 8      // traces kept of one key
)

// A Trace records what a consumer of this process did to a key because of one event.
type Trace struct {
	Time     time.Time `json:"time"`     // after Redis had replied
	Consumer string    `json:"consumer"` // name of the consumer
	Sequence uint64    `json:"sequence"` // stream sequence of the event
	Action   Action    `json:"action"`   // what the consumer did
	Keys     int       `json:"keys"`     // keys of the batch that contained this one
	Existed  int       `json:"existed"`  // keys and fill tokens of that batch that existed in Redis
}

// An Action is what a consumer did to a key.
type Action string

// The actions of a Trace.
const (
	Unlinked Action = "unlinked" // Redis confirmed its deletion
	Kept     Action = "kept"     // an echo kept it, because its version was new enough
	Skipped  Action = "skipped"  // not deleted, because every value that the event made stale had expired
)

// A keyHistory stores the last traces of the keys of sampled events, as evidence for violations. It covers only this
// process, and only the keys that were deleted last. Safe for concurrent use.
type keyHistory struct {
	mu     sync.Mutex
	traces map[string]*list.Element // by key, of *keyTraces
	order  list.List                // least recently deleted key first
}

type keyTraces struct {
	key    string
	traces []Trace // oldest first
}

func newKeyHistory() *keyHistory { return &keyHistory{traces: make(map[string]*list.Element)} }

func (h *keyHistory) add(key string, t Trace) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.traces[key]
	if e == nil {
		if h.order.Len() == historyKeys {
			oldest := h.order.Front()
			delete(h.traces, oldest.Value.(*keyTraces).key)
			h.order.Remove(oldest)
		}
		e = h.order.PushBack(&keyTraces{key: key})
		h.traces[key] = e
	}
	h.order.MoveToBack(e)
	p := e.Value.(*keyTraces)
	if len(p.traces) == historyDepth {
		p.traces = append(p.traces[:0], p.traces[1:]...)
	}
	p.traces = append(p.traces, t)
}

// of returns the traces of a key, oldest first; empty if there are none.
func (h *keyHistory) of(key string) []Trace {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.traces[key]; e != nil {
		return slices.Clone(e.Value.(*keyTraces).traces)
	}
	return []Trace{}
}

// A historyRecorder adds to the history what one consumer does to the keys of sampled events, batch by batch. It
// belongs to the goroutine of the consumer. A nil recorder records nothing.
type historyRecorder struct {
	history *keyHistory
	sample  sample
	taken   []takenKey
}

// A takenKey is a key of a sampled event in the current batch.
type takenKey struct {
	key    string
	seq    uint64
	action Action
}

func (r *historyRecorder) reset() {
	if r != nil {
		clear(r.taken)
		r.taken = r.taken[:0]
	}
}

// take records the keys of a message that was just added to the batch.
func (r *historyRecorder) take(msg jetstream.Msg, resolved []rules.Deletion, expired func(*rules.Deletion, jetstream.Msg) bool) {
	if r == nil || !r.sample.selects(msg) || isMarker(msg) {
		return
	}
	seq := sequence(msg.Reply())
	for i := range resolved {
		if d := &resolved[i]; d.Tag {
			continue
		} else if expired(d, msg) {
			r.taken = append(r.taken, takenKey{d.Key, seq, Skipped})
		} else {
			r.taken = append(r.taken, takenKey{d.Key, seq, Unlinked})
		}
	}
}

// write adds the taken keys to the history after the keys of the batch were deleted.
func (r *historyRecorder) write(consumer string, b *batch, deleted int) {
	if r == nil || len(r.taken) == 0 {
		return
	}
	now := time.Now()
	var unlinked map[string]bool // nil if the batch had no versioned keys: then all were unlinked
	if len(b.versioned) > 0 {
		unlinked = make(map[string]bool, len(b.keys))
		for _, key := range b.keys {
			unlinked[key] = true
		}
	}
	for _, k := range r.taken {
		if k.action == Unlinked && unlinked != nil && !unlinked[k.key] {
			k.action = Kept
		}
		r.history.add(k.key, Trace{Time: now, Consumer: consumer, Sequence: k.seq, Action: k.action, Keys: b.requested, Existed: deleted})
	}
}
