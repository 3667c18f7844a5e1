package invalidate

import (
	"encoding/binary"
	"math"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A sample chooses events by a hash of their id: the same in every process and at every scale. It is the largest hash
// that is chosen.
type sample uint64

// newSample chooses a share of the events, above 0 and at most 1.
func newSample(share float64) sample {
	if share >= 1 {
		return math.MaxUint64
	}
	return sample(math.Ldexp(share, 64))
}

// takes says whether the event of a message is chosen. A message without an id counts by its sequence.
func (s sample) takes(msg jetstream.Msg) bool {
	if s == math.MaxUint64 {
		return true
	}
	id := eventID(msg)
	if id == uuid.Nil {
		binary.BigEndian.PutUint64(id[8:], sequence(msg.Reply()))
	}
	return s.has(id)
}

func (s sample) has(id uuid.UUID) bool {
	return mix(binary.BigEndian.Uint64(id[:8])+mix(binary.BigEndian.Uint64(id[8:]))) <= uint64(s)
}

// eventID returns the id that event.Parse would; zero if the message has none.
func eventID(msg jetstream.Msg) uuid.UUID {
	headers := msg.Headers()
	for _, name := range []string{event.HeaderEventID, event.HeaderMsgID} {
		if values := headers[name]; len(values) > 0 {
			if id, err := uuid.Parse(values[0]); err == nil {
				return id
			}
		}
	}
	return uuid.Nil
}

// mix spreads the bits of a number evenly over all numbers: ids may count upwards. It is the step of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
