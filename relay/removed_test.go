package relay_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func (g *rig) jetStream() jetstream.Stream {
	g.t.Helper()
	js, err := jetstream.New(g.nc)
	must(g.t, err)
	s, err := js.Stream(g.t.Context(), g.stream)
	must(g.t, err)
	return s
}

// healed waits until the stream has every event again.
func (g *rig) healed() {
	g.t.Helper()
	devtest.Eventually(g.t, 20*time.Second, "the stream is healed", func() error { return g.verdict().Err() })
}

func (g *rig) reconciling() relay.Config {
	cfg := g.config()
	cfg.ReconcileEvery = 50 * time.Millisecond
	return cfg
}

// A purge, and deletes in the middle, under a relay that is connected and has nothing to do: what is gone is published
// again at the end, past the memory of message ids, once; also for the relay that starts later.
func TestRemovedMessages(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	run := g.start(g.reconciling())
	g.insertN(100)
	g.drained()
	for _, sequence := range []uint64{7, 50, 51, 52, 99} {
		must(t, g.jetStream().DeleteMsg(t.Context(), sequence))
	}
	g.healed()
	if s := run.Stats(); s.Removed != 5 || g.lastSequence() != 105 {
		t.Fatalf("stream ends at %d, stats %+v", g.lastSequence(), s)
	}
	must(t, g.jetStream().Purge(t.Context(), jetstream.WithPurgeKeep(30)))
	g.healed()
	must(t, g.jetStream().Purge(t.Context()))
	g.healed()
	if v := g.verdict(); v.Again != 100 {
		t.Fatalf("%+v", v)
	}
	end := g.lastSequence()
	must(t, run.stop())
	later := g.start(g.reconciling())
	g.insertN(10)
	g.drained()
	g.verify()
	if s := later.Stats(); s.Removed != 0 || g.lastSequence() != end+10 {
		t.Fatalf("the relay that starts later publishes again: stream ends at %d, stats %+v", g.lastSequence(), s)
	}
}

func TestRemovedMessagesByPolicy(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	cfg := g.reconciling()
	cfg.OnRemoved = relay.Accept
	run := g.start(cfg)
	g.insertN(10)
	g.drained()
	must(t, g.jetStream().DeleteMsg(t.Context(), 5))
	devtest.Eventually(t, 10*time.Second, "the hole is seen", func() error { return ok(run.Stats().Removed == 1) })
	g.insertN(10)
	g.drained()
	if v := g.verdict(); v.Lost != 1 || v.Published != 19 {
		t.Fatalf("%+v", v)
	}
	must(t, run.stop())
	cfg.OnRemoved = relay.Halt
	r, err := relay.New(g.pool, g.connect(), cfg)
	must(t, err)
	if err := r.Run(t.Context()); !errors.Is(err, relay.ErrRemoved) {
		t.Fatalf("got %v, want ErrRemoved", err)
	}
}

// A stream that drops its oldest messages by a limit of its own has lost nothing.
func TestLimitsRemoveNothing(t *testing.T) {
	g := newRig(t)
	js, err := jetstream.New(g.nc)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: g.stream, Subjects: append(g.subjects(), relay.ControlSubject(g.stream)), MaxMsgs: 50, Discard: jetstream.DiscardOld,
	})
	must(t, err)
	run := g.start(g.reconciling())
	g.insertN(200)
	g.drained()
	must(t, run.stop())
	again := g.start(g.reconciling())
	g.insertN(1)
	g.drained()
	if s := again.Stats(); s.Removed+run.Stats().Removed != 0 || g.lastSequence() != 201 {
		t.Fatalf("stream ends at %d, stats %+v", g.lastSequence(), s)
	}
}

// damage stops the broker, changes a block of the stream's store, and starts it again.
func (g *rig) damage(broker *devstack.NATS, change func(blocks []string)) {
	g.t.Helper()
	must(g.t, broker.Stop())
	blocks, err := filepath.Glob(filepath.Join(broker.StoreDir(), "jetstream", "$G", "streams", g.stream, "msgs", "*.blk"))
	must(g.t, err)
	if len(blocks) == 0 {
		g.t.Fatal("the stream has no blocks")
	}
	change(blocks)
	must(g.t, broker.Start())
}

// The last block of the stream's file is cut off: the server comes back with the same last sequence, and holes before it.
func TestTruncatedBlock(t *testing.T) {
	t.Parallel()
	g, broker := newOwnRig(t)
	run := g.start(g.config())
	g.insertN(3000)
	g.drained()
	g.damage(broker, func(blocks []string) {
		last := blocks[len(blocks)-1]
		info, err := os.Stat(last)
		must(t, err)
		must(t, os.Truncate(last, info.Size()/2))
	})
	g.healed()
	if s := run.Stats(); s.Removed+s.Lost == 0 {
		t.Fatalf("nothing was lost: stats %+v", s)
	}
}

// The length of a message in the last block is damaged: the server comes back with an end of the stream before it, and
// expects the old one before the next message.
func TestDamagedLength(t *testing.T) {
	t.Parallel()
	g, broker := newOwnRig(t)
	run := g.start(g.config())
	g.insertN(3000)
	g.drained()
	g.damage(broker, func(blocks []string) {
		last := blocks[len(blocks)-1]
		data, err := os.ReadFile(last)
		must(t, err)
		at := 0
		for range 1000 {
			at += int(binary.LittleEndian.Uint32(data[at:]) &^ (1 << 31)) // the bit says that it has headers
		}
		data[at+2] ^= 0x10
		must(t, os.WriteFile(last, data, 0o600))
	})
	g.healed()
	g.insertN(10)
	g.drained()
	g.verify()
	if s := run.Stats(); s.Lost == 0 {
		t.Fatalf("stats %+v", s)
	}
}

// A bit flips in a block: the server counts the message and cannot read it. Reading the stream after the restart tells.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	g, broker := newOwnRig(t)
	run := g.start(g.config())
	for range 5 { // more than a block of 8 MiB: the server checks the last one by itself
		_, err := g.pool.Exec(t.Context(), g.table.SQL(`INSERT INTO outbox.event (subject, payload)
			SELECT $1, convert_to(repeat('x', 2000), 'UTF8') FROM generate_series(1, 2000)`), g.subject("x"))
		must(t, err)
	}
	g.drained()
	g.damage(broker, func(blocks []string) {
		data, err := os.ReadFile(blocks[0])
		must(t, err)
		data[len(data)/2] ^= 0x10
		must(t, os.WriteFile(blocks[0], data, 0o600))
	})
	began := time.Now()
	g.healed()
	if s := run.Stats(); s.Removed == 0 {
		t.Fatalf("stats %+v", s)
	}
	t.Logf("healed %v after the restart", time.Since(began))
	g.insertN(10)
	g.drained()
	g.verify()
}
