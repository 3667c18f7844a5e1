package invalidate

import (
	"encoding/binary"
	"math"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A sample selects events by a hash of their ID, so that every process and every scale selects the same ones. Its value
// is the largest hash that it selects.
type sample uint64

// newSample returns a sample of a share of the events, above 0 and at most 1.
func newSample(share float64) sample {
	if share >= 1 {
		return math.MaxUint64
	}
	return sample(math.Ldexp(share, 64))
}

// selects reports whether the sample contains the event of a message. A message without an event ID is identified by
// its sequence.
func (s sample) selects(msg jetstream.Msg) bool {
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

// eventID returns the same ID as event.Parse, without parsing the rest of the message; uuid.Nil if there is none.
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

// mix hashes a number by one step of SplitMix64, because IDs may be consecutive.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
