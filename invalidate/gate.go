package invalidate

import "time"

// A Gate holds echoes back until the replicas that readers ask have everything that the event was about, so that D does
// not have to cover how far they are behind. replicas.Watch is one.
type Gate interface {
	// Passed returns since when every replica shows all that was committed before a moment; false if one does not yet.
	// It must not block, and be safe for concurrent use.
	Passed(before time.Time) (since time.Time, ok bool)
}

// gatePause is how long after a no the gate is asked again.
const gatePause = 50 * time.Millisecond
