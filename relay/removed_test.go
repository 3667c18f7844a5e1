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
	"github.com/seed-6eff6314/outbox-relay/internal/relaytest"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func reconciling(g *relaytest.Rig) relay.Config {
	cfg := g.Config()
	cfg.ReconcileEvery = 50 * time.Millisecond
	return cfg
}

// A purge, and deletes in the middle of the stream, while the relay is idle. It publishes what is gone again at the end, once, although
// the server remembers the message ids. A relay that starts later publishes nothing more.
func TestRemovedMessages(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	run := g.Start(reconciling(g))
	g.InsertN(100)
	g.Drained()
	for _, sequence := range []uint64{7, 50, 51, 52, 99} {
		relaytest.Must(t, g.JetStream().DeleteMsg(t.Context(), sequence))
	}
	g.Healed()
	if s := run.Stats(); s.Removed != 5 || g.LastSequence() != 105 {
		t.Fatalf("stream ends at %d, stats %+v", g.LastSequence(), s)
	}
	relaytest.Must(t, g.JetStream().Purge(t.Context(), jetstream.WithPurgeKeep(30)))
	g.Healed()
	relaytest.Must(t, g.JetStream().Purge(t.Context()))
	g.Healed()
	if v := g.Verdict(); v.Again != 100 {
		t.Fatalf("%+v", v)
	}
	end := g.LastSequence()
	relaytest.Must(t, run.Stop())
	later := g.Start(reconciling(g))
	g.InsertN(10)
	g.Drained()
	g.Verify()
	if s := later.Stats(); s.Removed != 0 || g.LastSequence() != end+10 {
		t.Fatalf("the relay that starts later publishes again: stream ends at %d, stats %+v", g.LastSequence(), s)
	}
}

func TestRemovedMessagesByPolicy(t *testing.T) {
	t.Parallel()
	g := relaytest.New(t)
	cfg := reconciling(g)
	cfg.OnRemoved = relay.RemovedAccept
	run := g.Start(cfg)
	g.InsertN(10)
	g.Drained()
	relaytest.Must(t, g.JetStream().DeleteMsg(t.Context(), 5))
	devtest.Eventually(t, 10*time.Second, "the relay finds the hole", func() error { return relaytest.Holds(run.Stats().Removed == 1) })
	g.InsertN(10)
	g.Drained()
	if v := g.Verdict(); v.Lost != 1 || v.Published != 19 {
		t.Fatalf("%+v", v)
	}
	relaytest.Must(t, run.Stop())
	cfg.OnRemoved = relay.RemovedHalt
	r, err := relay.New(g.Pool, g.Connect(), cfg)
	relaytest.Must(t, err)
	if err := r.Run(t.Context()); !errors.Is(err, relay.ErrRemoved) {
		t.Fatalf("got %v, want ErrRemoved", err)
	}
}

// A stream that drops its oldest messages by a limit of its own lost nothing.
func TestLimitsRemoveNothing(t *testing.T) {
	g := relaytest.New(t)
	js, err := jetstream.New(g.NC)
	relaytest.Must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: g.Stream, Subjects: append(g.Subjects(), relay.ControlSubject(g.Stream)), MaxMsgs: 50, Discard: jetstream.DiscardOld,
	})
	relaytest.Must(t, err)
	run := g.Start(reconciling(g))
	g.InsertN(200)
	g.Drained()
	relaytest.Must(t, run.Stop())
	again := g.Start(reconciling(g))
	g.InsertN(1)
	g.Drained()
	if s := again.Stats(); s.Removed+run.Stats().Removed != 0 || g.LastSequence() != 201 {
		t.Fatalf("stream ends at %d, stats %+v", g.LastSequence(), s)
	}
}

// damage stops the broker, changes a block of the stream's store, and restarts the broker.
func damage(g *relaytest.Rig, broker *devstack.NATS, change func(blocks []string)) {
	g.T.Helper()
	relaytest.Must(g.T, broker.Stop())
	blocks, err := filepath.Glob(filepath.Join(broker.StoreDir(), "jetstream", "$G", "streams", g.Stream, "msgs", "*.blk"))
	relaytest.Must(g.T, err)
	if len(blocks) == 0 {
		g.T.Fatal("the stream has no blocks")
	}
	change(blocks)
	relaytest.Must(g.T, broker.Start())
}

// The last block of the stream's file is truncated: the server restarts with the same last sequence, and holes before it.
func TestTruncatedBlock(t *testing.T) {
	t.Parallel()
	g, broker := relaytest.NewOwn(t)
	run := g.Start(g.Config())
	g.InsertN(3000)
	g.Drained()
	damage(g, broker, func(blocks []string) {
		last := blocks[len(blocks)-1]
		info, err := os.Stat(last)
		relaytest.Must(t, err)
		relaytest.Must(t, os.Truncate(last, info.Size()/2))
	})
	g.Healed()
	if s := run.Stats(); s.Removed+s.Lost == 0 {
		t.Fatalf("nothing was lost: stats %+v", s)
	}
}

// The length of a message in the last block is damaged: the server restarts with an earlier end of the stream, and
// expects the old last sequence before the next message.
func TestDamagedLength(t *testing.T) {
	t.Parallel()
	g, broker := relaytest.NewOwn(t)
	run := g.Start(g.Config())
	g.InsertN(3000)
	g.Drained()
	damage(g, broker, func(blocks []string) {
		last := blocks[len(blocks)-1]
		data, err := os.ReadFile(last)
		relaytest.Must(t, err)
		at := 0
		for range 1000 {
			at += int(binary.LittleEndian.Uint32(data[at:]) &^ (1 << 31)) // the bit marks a message with headers
		}
		data[at+2] ^= 0x10
		relaytest.Must(t, os.WriteFile(last, data, 0o600))
	})
	g.Healed()
	g.InsertN(10)
	g.Drained()
	g.Verify()
	if s := run.Stats(); s.Lost == 0 {
		t.Fatalf("stats %+v", s)
	}
}

// A bit flips in a block: the server counts the message and cannot read it. Only reading the stream after the restart shows that.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	g, broker := relaytest.NewOwn(t)
	run := g.Start(g.Config())
	for range 5 { // more than one block of 8 MiB: the server checks only the last one
		_, err := g.Pool.Exec(t.Context(), g.Table.SQL(`INSERT INTO outbox.event (subject, payload)
			SELECT $1, convert_to(repeat('x', 2000), 'UTF8') FROM generate_series(1, 2000)`), g.Subject("x"))
		relaytest.Must(t, err)
	}
	g.Drained()
	damage(g, broker, func(blocks []string) {
		data, err := os.ReadFile(blocks[0])
		relaytest.Must(t, err)
		data[len(data)/2] ^= 0x10
		relaytest.Must(t, os.WriteFile(blocks[0], data, 0o600))
	})
	began := time.Now()
	g.Healed()
	if s := run.Stats(); s.Removed == 0 {
		t.Fatalf("stats %+v", s)
	}
	t.Logf("repaired %v after the restart", time.Since(began))
	g.InsertN(10)
	g.Drained()
	g.Verify()
}
