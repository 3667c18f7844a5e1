package relay

import (
	"context"
	"fmt"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// doubt ends a window: the outcome of publishing a position is unknown, or known to be bad. Nothing after the position is in the
// stream, or reading the end of the stream will find it.
type doubt struct {
	class    class
	position int64
	sequence uint64 // duplicate: where the stream has it; wrong last sequence: what the server expects, if known
	reason   string // refused: one word for outbox.parked
	err      error
}

func (d *doubt) Error() string { return fmt.Sprintf("publish position %d: %v", d.position, d.err) }
func (d *doubt) Unwrap() error { return d.err }

// resolveDoubt does what a doubt about the origin's position requires before that is published again: it parks an event that the
// server refused, and finds out what a duplicate message id means. It returns the position that needs a fresh message id, or 0.
//
// A server that finds a damaged block after its start has two opinions of where the stream ends: it stores after what is left, and
// expects what it had before (nats-server 2.15.2). A message with the expected sequence is stored correctly and ends the disagreement. In a
// cluster a difference only means that messages are still being stored.
func (r *Relay) resolveDoubt(ctx context.Context, d *doubt, at *origin) (freshID int64, err error) {
	if d == nil || d.position != at.next {
		return 0, nil
	}
	switch d.class {
	case unknown:
		if d.sequence > at.Last && at.Replicas == 1 {
			at.believed = d.sequence
		}
		return 0, nil
	case refused, duplicate:
	default:
		return 0, nil
	}
	events, err := r.load(ctx, at.next, table.Page{Events: 1, Bytes: 1})
	if err != nil || len(events) == 0 || events[0].Parked != "" {
		return 0, err
	}
	if d.class == refused {
		return 0, r.park(ctx, &events[0], d.reason, d.err)
	}
	return r.resolveDuplicate(ctx, d, &events[0])
}

// resolveDuplicate reads the message that the stream has under the event's message id. Its writer may have used one id for two
// events, or the stream may only remember the id of a message that it has no more.
func (r *Relay) resolveDuplicate(ctx context.Context, d *doubt, e *table.Planned) (freshID int64, err error) {
	m, err := r.stream.Message(ctx, d.sequence)
	if err != nil {
		return 0, err
	}
	switch stored := m != nil && m.Ours && !m.Marker && m.Event.ID == e.ID; {
	case !stored:
		return e.Position, nil
	case m.Event.Position == e.Position: // published at another sequence: publish a marker here
		return 0, r.park(ctx, e, table.ReasonDisplaced, fmt.Errorf("published at sequence %d", d.sequence))
	default:
		return 0, r.park(ctx, e, reasonDuplicateID, fmt.Errorf("position %d has the same event id", m.Event.Position))
	}
}
