package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
)

// errChanged reports that the stream is not what it was when the window began.
var errChanged = errors.New("stream changed")

// reconciler checks, during a window, whether the stream still has what it acknowledged. A finding ends the window, and resume
// repairs it. Its own goroutine owns it.
type reconciler struct {
	r        *Relay
	at       *origin
	changed  chan error   // capacity one: why the window has to end
	suspects stream.Spans // sequences that could not be read; valid after run has returned
}

// run returns when ctx ends or with the first finding. It reads messages again only after the first interval: publishing the backlog
// comes first.
func (c *reconciler) run(ctx context.Context) {
	tick := time.NewTicker(c.r.cfg.ReconcileEvery / 2)
	defer tick.Stop()
	for n := 0; ; n++ {
		err := c.check(ctx)
		if err == nil && n > 0 {
			err = c.verify(ctx)
		}
		if errors.Is(err, errChanged) {
			c.changed <- err
			return
		}
		if err != nil && ctx.Err() == nil {
			c.r.log.Warn("stream not reconciled, checking again later", "wait", c.r.cfg.ReconcileEvery, "err", err)
		}
		select {
		case <-tick.C:
			tick.Reset(c.r.cfg.ReconcileEvery)
		case <-ctx.Done():
			return
		}
	}
}

// check compares the state of the stream with what it had acknowledged before the request.
func (c *reconciler) check(ctx context.Context) error {
	acked := c.r.stats.sequence.Load()
	now, err := c.r.findStream(ctx)
	if streamGone(err) {
		return fmt.Errorf("%w: it was deleted", errChanged)
	}
	if err != nil {
		return err
	}
	was := c.at.State
	switch {
	case !stream.Same(now.ID, was.ID):
		return fmt.Errorf("%w: it was created again", errChanged)
	case c.r.cfg.Shared:
		return nil
	case now.Last < acked:
		return fmt.Errorf("%w: it ends at sequence %d, and acknowledged %d", errChanged, now.Last, acked)
	case now.First > max(was.First, 1) && !now.DropsOld && !now.MayHaveExpired():
		return fmt.Errorf("%w: it began at sequence %d, and begins at %d", errChanged, max(was.First, 1), now.First)
	case now.Deleted > was.Deleted && !now.DropsPerSubject:
		return fmt.Errorf("%w: %d messages were missing in it, and %d are", errChanged, was.Deleted, now.Deleted)
	}
	return nil
}

// verify reads the headers of the last messages if another server process than the last time serves the stream. A server does not
// check each message in its files when it starts: only a reader finds a damaged one.
func (c *reconciler) verify(ctx context.Context) error {
	r := c.r
	server := r.nc.ConnectedServerId() + " " + c.at.Leader
	if r.cfg.Shared || r.cfg.VerifyEvents < 0 || r.mem.verified == server || c.at.Last == 0 {
		return nil
	}
	from := max(c.at.First, 1)
	if n := uint64(r.cfg.VerifyEvents); c.at.Last > n {
		from = max(from, c.at.Last-n+1)
	}
	missing, err := r.stream.Unreadable(ctx, stream.Span{First: from, Last: c.at.Last})
	if err != nil {
		return err
	}
	r.mem.verified = server
	if len(missing) > 0 {
		c.suspects = missing
		return fmt.Errorf("%w: %d runs of messages cannot be read, the first from sequence %d on", errChanged, len(missing), missing[0].First)
	}
	return nil
}
