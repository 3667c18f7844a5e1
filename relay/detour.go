package relay

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// stuckFor is how long one server of several may keep the relay without progress.
const stuckFor = 10 * time.Second

// detour connects to another server of the cluster when nothing has come through for a while: this one may be cut off from
// the others, which a connection to it does not show. since is when the tries without progress began, zero for none; it
// returns the next since.
func (r *Relay) detour(ctx context.Context, since time.Time, progress bool) time.Time {
	switch {
	case progress || !r.nc.IsConnected():
		return time.Time{}
	case since.IsZero():
		return time.Now()
	case time.Since(since) < stuckFor || len(r.nc.Servers()) < 2:
		return since
	}
	r.log.Warn("no progress through this server, connecting to another", "url", r.nc.ConnectedUrlRedacted(), "wait", stuckFor)
	connected := r.nc.StatusChanged(nats.CONNECTED)
	defer r.nc.RemoveStatusListener(connected)
	if r.nc.ForceReconnect() != nil { // it was closed
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
