package relay

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// stuckFor is how long the relay stays with one server of several without progress.
const stuckFor = 10 * time.Second

// reconnectIfStuck connects to another node of the cluster after stuckFor without progress: this one may be cut off from the
// others, which a connection to it does not show. since is when the attempts without progress began, zero for none; it
// returns the new since.
func (r *Relay) reconnectIfStuck(ctx context.Context, since time.Time, progress bool) time.Time {
	switch {
	case progress || !r.nc.IsConnected():
		return time.Time{}
	case since.IsZero():
		return time.Now()
	case time.Since(since) < stuckFor || len(r.nc.Servers()) < 2:
		return since
	}
	r.log.Warn("no progress through this server, connecting to another one", "url", r.nc.ConnectedUrlRedacted(), "wait", stuckFor)
	connected := r.nc.StatusChanged(nats.CONNECTED)
	defer r.nc.RemoveStatusListener(connected)
	if r.nc.ForceReconnect() != nil { // the connection was closed
		return time.Time{}
	}
	timer := time.NewTimer(requestTimeout)
	defer timer.Stop()
	select {
	case <-connected:
	case <-timer.C:
	case <-ctx.Done():
	}
	return time.Time{}
}
