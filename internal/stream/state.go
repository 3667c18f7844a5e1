package stream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// State is what a stream is and holds at one moment.
type State struct {
	ID         table.Stream // name and time of creation
	First      uint64       // sequence of its first message; of the next one if it is empty
	Last       uint64       // sequence of its last message
	Deleted    int          // number of sequences between First and Last without a message
	Oldest     time.Time    // when its first message was stored; if it is empty, its last
	Leader     string       // server that leads it; empty outside a cluster
	Replicas   int
	Subjects   []string
	MaxMsgSize int // bytes; 0: no limit of its own

	MaxAge          time.Duration // 0: no limit
	DropsOld        bool          // a limit of count or size removes its first messages
	DropsPerSubject bool          // a limit per subject removes messages anywhere
}

// NewState reads a state from what JetStream reports.
func NewState(info *jetstream.StreamInfo) *State {
	c := &info.Config
	s := &State{
		ID:   table.Stream{Name: c.Name, Created: info.Created},
		Last: info.State.LastSeq, First: info.State.FirstSeq, Deleted: info.State.NumDeleted, Oldest: info.State.FirstTime,
		Replicas: max(c.Replicas, 1), Subjects: c.Subjects, MaxMsgSize: int(max(c.MaxMsgSize, 0)), MaxAge: c.MaxAge,
		DropsOld:        c.MaxMsgsPerSubject > 0 || c.Discard == jetstream.DiscardOld && (c.MaxMsgs > 0 || c.MaxBytes > 0),
		DropsPerSubject: c.MaxMsgsPerSubject > 0,
	}
	if info.State.Msgs == 0 {
		s.Oldest = info.State.LastTime
	}
	if info.Cluster != nil {
		s.Leader = info.Cluster.Leader
	}
	return s
}

// MayHaveExpired reports whether the first messages may have reached the stream's maximum age. It allows a minute for the difference
// between our clock and the server's.
func (s *State) MayHaveExpired() bool {
	return s.MaxAge > 0 && time.Since(s.Oldest) > s.MaxAge-time.Minute
}

// Same reports whether two streams are one. A stream that was deleted and created again is another stream. Times are compared
// by the microsecond, the resolution of PostgreSQL.
func Same(a, b table.Stream) bool {
	return a.Name == b.Name && a.Created.UnixMicro() == b.Created.UnixMicro()
}
