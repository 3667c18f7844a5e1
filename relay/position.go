package relay

import (
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// PositionAt is the position of the last event that belongs at a sequence of a stream or before it, 0 before the first, as the log of
// bases has it (table.Table.Bases). Not known for a stream that no relay has written to as its only writer.
func PositionAt(log []table.Base, stream table.Stream, sequence uint64) (position int64, known bool) {
	l := baseLog{stream: stream, all: log}
	if !l.started() {
		return 0, false
	}
	position, _ = l.positionAt(sequence)
	return max(position, 0), true
}
