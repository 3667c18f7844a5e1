package bench

import (
	"context"
	"errors"
	"strings"
)

// A Peer is another project that publishes a backlog. drain runs it in turns with floor and ours. Peers live in a module of
// their own (internal/bench/peers), so that this module does not depend on them.
type Peer struct {
	Name  string
	Drain func(ctx context.Context, job PeerJob) error
}

// A PeerJob is the work of a peer. It must create Schema and insert Events rows with Payload bytes each, call Start, and
// return once Stream has acknowledged all of them, on subjects that begin with the name of the stream and a dot.
type PeerJob struct {
	Servers         *Servers
	Schema, Stream  string
	Events, Payload int
	Start           func()
}

// drainPeer measures a peer.
func (s *session) drainPeer(ctx context.Context, m *meter, p Peer) error {
	schema := s.newName()
	stream := strings.ToUpper(schema)
	if err := s.createStream(ctx, stream); err != nil {
		return err
	}
	err := p.Drain(ctx, PeerJob{Servers: s.servers, Schema: schema, Stream: stream, Events: s.set.Events, Payload: s.set.Payload, Start: m.start})
	m.stop(s.set.Events)
	if err == nil {
		err = s.checkMessages(ctx, stream, s.set.Events)
	}
	return errors.Join(err, s.js.DeleteStream(ctx, stream), s.dropSchema(ctx, schema))
}
