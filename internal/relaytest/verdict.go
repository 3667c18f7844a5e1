package relaytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Must ends the test with an error that is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Holds is a condition as devtest.Eventually takes it.
func Holds(condition bool) error {
	if !condition {
		return errors.New("it does not hold")
	}
	return nil
}

// Insert inserts events in a transaction of their own.
func (g *Rig) Insert(events ...event.Event) {
	g.T.Helper()
	_, err := g.Table.InsertAndCommit(g.T.Context(), g.Pool, events...)
	Must(g.T, err)
}

// InsertN inserts n events of 50 keys.
func (g *Rig) InsertN(n int) {
	g.T.Helper()
	g.SQL(`INSERT INTO outbox.event (subject, key, payload)
		SELECT $1 || '.' || (g % 50), (g % 50)::text, convert_to(g::text, 'UTF8') FROM generate_series(1, $2::int) g`, g.Stream, n)
}

// SQL executes a statement that names the default schema in the schema of the rig.
func (g *Rig) SQL(query string, args ...any) {
	g.T.Helper()
	_, err := g.Pool.Exec(g.T.Context(), g.Table.SQL(query), args...)
	Must(g.T, err)
}

// Count is the number of events in the table.
func (g *Rig) Count() (n int) {
	g.T.Helper()
	Must(g.T, g.Pool.QueryRow(g.T.Context(), g.Table.SQL("SELECT count(*) FROM outbox.event")).Scan(&n))
	return n
}

// Planned plans everything, without a relay.
func (g *Rig) Planned() []table.Planned {
	g.T.Helper()
	session, err := g.Table.OpenSession(g.T.Context(), g.Pool.Config().ConnConfig.Copy(), "test")
	Must(g.T, err)
	defer session.Close()
	events, err := session.Plan(g.T.Context(), table.Page{Events: 1000, Bytes: 1 << 20})
	Must(g.T, err)
	return events
}

// JetStream is the stream.
func (g *Rig) JetStream() jetstream.Stream {
	g.T.Helper()
	js, err := jetstream.New(g.NC)
	Must(g.T, err)
	s, err := js.Stream(g.T.Context(), g.Stream)
	Must(g.T, err)
	return s
}

// Info is configuration and state of the stream.
func (g *Rig) Info() *jetstream.StreamInfo {
	g.T.Helper()
	return g.JetStream().CachedInfo()
}

// LastSequence is the last sequence of the stream; 0 while the stream does not exist or the broker does not answer within a second.
func (g *Rig) LastSequence() uint64 {
	js, err := jetstream.New(g.NC)
	Must(g.T, err)
	ctx, cancel := context.WithTimeout(g.T.Context(), time.Second)
	defer cancel()
	s, err := js.Stream(ctx, g.Stream)
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.LastSeq
}

// Foreign publishes n messages that no relay wrote, when the test's own connection is up.
func (g *Rig) Foreign(n int) {
	g.T.Helper()
	js, err := jetstream.New(g.NC)
	Must(g.T, err)
	devtest.Eventually(g.T, 20*time.Second, "the test's connection is up", func() error { return Holds(g.NC.IsConnected()) })
	for range n {
		_, err := js.Publish(g.T.Context(), g.Subject("foreign"), []byte("x"), jetstream.WithRetryAttempts(100))
		Must(g.T, err)
	}
}

// Drained waits until everything is planned and acknowledged. It fails if no receipt comes for 30 s. How long the whole backlog takes
// depends on the machine, and under the race detector on what else runs there.
func (g *Rig) Drained() {
	g.T.Helper()
	acked := int64(-1)
	for done := false; !done; {
		devtest.Eventually(g.T, 30*time.Second, "more is published", func() error {
			s, err := g.Table.Status(g.T.Context(), g.Pool, g.Stream)
			if err != nil {
				return err
			}
			done = s.Pending == 0 && s.Planned > 0
			if !done && s.Acked <= acked {
				return fmt.Errorf("%d pending, %d planned", s.Pending, s.Planned)
			}
			acked = s.Acked
			return nil
		})
	}
}

// Retained waits until the relay has dropped all partitions but the one that is being filled.
func (g *Rig) Retained() {
	g.T.Helper()
	g.Drained()
	devtest.Eventually(g.T, 30*time.Second, "old partitions are dropped", func() error {
		if n := g.Count(); n >= 1000 {
			return fmt.Errorf("the table has %d events", n)
		}
		return nil
	})
}

// Healed waits until the stream has every event again. The test's own connection may be down at first.
func (g *Rig) Healed() {
	g.T.Helper()
	devtest.Eventually(g.T, 20*time.Second, "the stream has every event again", func() error {
		v, err := g.Stored().Verify(g.T.Context())
		if err != nil {
			return err
		}
		return v.Err()
	})
}

// Verdict compares the stream with the table and the plan.
func (g *Rig) Verdict() verify.Verdict {
	g.T.Helper()
	v, err := g.Stored().Verify(g.T.Context())
	Must(g.T, err)
	return v
}

// Verify expects each committed event once, at its position, and nothing else in the stream.
func (g *Rig) Verify() {
	g.T.Helper()
	Must(g.T, g.Verdict().Err())
}

// Stored is what internal/verify reads.
func (g *Rig) Stored() *verify.Stream {
	return &verify.Stream{Table: g.Table, Pool: g.Pool, Conn: g.NC, Name: g.Stream}
}

// ReadStream passes the headers of every message of the stream, in order, to f.
func (g *Rig) ReadStream(ctx context.Context, f func(jetstream.Msg) error) error {
	return g.Stored().Read(ctx, f)
}
