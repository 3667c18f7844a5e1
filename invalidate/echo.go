package invalidate

import "time"

// An EchoGate holds echoes back until every replica that readers query has replayed the event's transaction. The delay
// of an echo then does not have to cover the replica lag. Type Replicas of
// package invalidate/replicas implements it.
type EchoGate interface {
	// Passed returns the time since which every replica shows everything that was committed before a moment, and false
	// if one of them does not show it yet. It must not block and must be safe for concurrent use.
	Passed(before time.Time) (since time.Time, ok bool)
}

// gatePause is the time until the gate is asked again after it returned false.
const gatePause = 50 * time.Millisecond

// untilDue returns how long a message must still wait until it is due; zero or less if it is due.
func (c *consumer) untilDue(m received) time.Duration {
	if c.delay == 0 {
		return 0
	}
	from := c.clock.latest(storedAt(m.Reply()), m.at)
	if c.gate != nil {
		passed, ok := c.gate.Passed(from)
		if !ok {
			return gatePause
		}
		from = passed
	}
	return time.Until(from.Add(c.delay))
}
