package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// A Peer is another project's way to drain a backlog, played in turns with floor and ours. Those that there are live in a module
// of their own (internal/bench/peers), so that nobody else depends on them.
type Peer struct {
	Name  string
	Drain func(ctx context.Context, job PeerJob) error
}

// PeerJob is what a peer has to do: prepare Events rows with Payload bytes each in Schema, which it makes, call Start, and
// return when Stream has acknowledged every one, on subjects that begin with its name and a dot.
type PeerJob struct {
	Servers         *Servers
	Schema, Stream  string
	Events, Payload int
	Start           func()
}

// drainPeer measures one.
func (l *lab) drainPeer(ctx context.Context, m *meter, p Peer) error {
	schema := fmt.Sprintf("%s_%d", l.name, l.made.Add(1))
	stream := strings.ToUpper(schema)
	if err := l.makeStream(ctx, stream); err != nil {
		return err
	}
	err := p.Drain(ctx, PeerJob{Servers: l.servers, Schema: schema, Stream: stream, Events: l.set.Events, Payload: l.set.Payload, Start: m.start})
	m.stop(l.set.Events)
	if err == nil {
		err = l.expect(ctx, stream, l.set.Events)
	}
	return errors.Join(err, l.js.DeleteStream(ctx, stream), l.dropSchema(ctx, schema))
}
