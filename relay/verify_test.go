package relay_test

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/verify"
)

func (g *rig) verdict() verify.Verdict {
	g.t.Helper()
	v, err := g.stored().Verify(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

// verify is the judge: the stream holds each committed event once, at its position, and nothing else.
func (g *rig) verify() {
	g.t.Helper()
	if err := g.verdict().Err(); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) stored() *verify.Stream {
	return &verify.Stream{Table: g.table, Pool: g.pool, Conn: g.nc, Name: g.stream}
}

// readStream hands the headers of every message of the stream, in order, to f.
func (g *rig) readStream(ctx context.Context, f func(jetstream.Msg) error) error {
	return g.stored().Read(ctx, f)
}
