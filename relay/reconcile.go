package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// errChanged says that the stream is not what it was when the window began.
var errChanged = errors.New("stream changed")

// reconciler looks, beside a window, whether the stream still has what it acknowledged. What it finds ends the window:
// resume puts it right. Its own goroutine owns it.
type reconciler struct {
	r        *Relay
	at       *place
	changed  chan error // capacity one: why the window has to end
	suspects []span     // sequences that could not be read; read after run has ended
}

// run ends with ctx, or when it found something. Reading messages again has time: first the backlog.
func (c *reconciler) run(ctx context.Context) {
	tick := time.NewTicker(c.r.cfg.ReconcileEvery / 2)
	defer tick.Stop()
	for n := 0; ; n++ {
		err := c.look(ctx)
		if err == nil && n > 0 {
			err = c.verify(ctx)
		}
		if errors.Is(err, errChanged) {
			c.changed <- err
			return
		}
		if err != nil && ctx.Err() == nil {
			c.r.log.Warn("stream not reconciled, the next look comes", "wait", c.r.cfg.ReconcileEvery, "err", err)
		}
		select {
		case <-tick.C:
			tick.Reset(c.r.cfg.ReconcileEvery)
		case <-ctx.Done():
			return
		}
	}
}

// look compares the state of the stream with what was acknowledged before the question was asked.
func (c *reconciler) look(ctx context.Context) error {
	acked := c.r.stats.sequence.Load()
	now, err := c.r.findStream(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w: it is gone", errChanged)
	}
	if err != nil {
		return err
	}
	was := c.at.target
	switch {
	case !same(now.stream, was.stream):
		return fmt.Errorf("%w: it was made again", errChanged)
	case !c.r.cfg.Shared && now.last < acked:
		return fmt.Errorf("%w: it ends at sequence %d, and %d was acknowledged", errChanged, now.last, acked)
	case c.r.cfg.Shared:
		return nil
	case now.first > max(was.first, 1) && !now.dropsOld && !now.expired():
		return fmt.Errorf("%w: it began at sequence %d, and begins at %d", errChanged, max(was.first, 1), now.first)
	case now.deleted > was.deleted && !now.dropsPerSubject:
		return fmt.Errorf("%w: it had %d holes, and has %d", errChanged, was.deleted, now.deleted)
	}
	return nil
}

// verify reads the headers of the last messages when the stream is served by another process than the last time: a
// server that starts does not look at each message in its files, and only who reads one that is damaged learns that it
// is not there. What it cannot read is suspect.
func (c *reconciler) verify(ctx context.Context) error {
	r := c.r
	server := r.nc.ConnectedServerId() + " " + c.at.leader
	if r.cfg.Shared || r.cfg.VerifyEvents < 0 || r.verified == server || c.at.last == 0 {
		return nil
	}
	from := max(c.at.first, 1)
	if n := uint64(r.cfg.VerifyEvents); c.at.last > n {
		from = max(from, c.at.last-n+1)
	}
	missing, err := r.unreadable(ctx, span{from, c.at.last})
	if err != nil {
		return err
	}
	r.verified = server
	if len(missing) > 0 {
		c.suspects = missing
		return fmt.Errorf("%w: %d stretches of it cannot be read, the first at sequence %d", errChanged, len(missing), missing[0].first)
	}
	return nil
}

// unreadable reads a span of the stream and returns what of it did not come, but for the holes that the server knows of.
func (r *Relay) unreadable(ctx context.Context, s span) ([]span, error) {
	if s.last < s.first {
		return nil, nil
	}
	consumer, err := r.scanner(ctx, s)
	if err != nil {
		return nil, err
	}
	defer consumer.close()
	var missing spans
	next := s.first
	for next <= s.last {
		page, err := consumer.fetch(ctx)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		for i := range page {
			missing.addRun(next, page[i].sequence-1)
			next = page[i].sequence + 1
		}
	}
	if missing.addRun(next, s.last); len(missing) == 0 {
		return nil, nil
	}
	known, err := r.deleted(ctx)
	if err != nil {
		return nil, err
	}
	now, err := r.findStream(ctx)
	if err != nil {
		return nil, err
	}
	return missing.without(known).from(now.first), nil // what was dropped meanwhile is judged by its first sequence
}

// spans are runs of sequences in ascending order.
type spans []span

// addRun appends the sequences first to last, if there are any.
func (s *spans) addRun(first, last uint64) {
	n := len(*s)
	switch {
	case first > last:
	case n > 0 && (*s)[n-1].last+1 == first:
		(*s)[n-1].last = last
	default:
		*s = append(*s, span{first, last})
	}
}

// without leaves out sequences given in ascending order.
func (s spans) without(known []uint64) (out spans) {
	for _, run := range s {
		for len(known) > 0 && known[0] <= run.last {
			if known[0] >= run.first {
				out.addRun(run.first, known[0]-1)
				run.first = known[0] + 1
			}
			known = known[1:]
		}
		out.addRun(run.first, run.last)
	}
	return out
}

// from leaves out sequences before one.
func (s spans) from(first uint64) (out spans) {
	for _, run := range s {
		out.addRun(max(run.first, first), run.last)
	}
	return out
}

// expired says that the first messages may have reached the stream's limit of age, by a clock that is not quite ours.
func (t *target) expired() bool {
	return t.maxAge > 0 && time.Since(t.oldest) > t.maxAge-time.Minute
}
