package devstack_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// A replicated stream survives a change of leader, a stopped leader, and its return.
func TestNATSClusterKeepsStream(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	c, err := devstack.StartNATSCluster(devstack.NATSClusterConfig{Dir: parent, SyncAlways: true, MaxPayload: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	js := replicated(t, c.URL(), "S")
	publish := func(msg string) {
		t.Helper()
		devtest.Eventually(t, within, "ack for "+msg, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := js.Publish(ctx, "s", []byte(msg), jetstream.WithMsgID(msg))
			return err
		})
	}
	publish("first")
	before, err := c.Leader("S")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StepDown(t.Context(), "S"); err != nil {
		t.Fatal(err)
	}
	leader, err := c.Leader("S")
	if err != nil || leader == before {
		t.Fatalf("leader %d after %d: %v", leader, before, err)
	}
	publish("second")

	for range 2 { // a stopped node may be stopped again
		if err := c.Stop(leader); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nats.Connect(c.Node(leader).URL()); err == nil {
		t.Error("stopped, and still answers")
	}
	devtest.Eventually(t, within, "another leader", func() error {
		now, err := c.Leader("S")
		if err == nil && now == leader {
			err = fmt.Errorf("%d is stopped", now)
		}
		return err
	})
	publish("third")
	if err := c.Start(leader); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(leader); err == nil {
		t.Error("started a running node again")
	}
	devtest.Eventually(t, within, "three replicas up to date", func() error { return upToDate(t, js, "S", 3) })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

// Without a majority nothing is acked, and with one again everything is there.
func TestNATSClusterWithoutMajority(t *testing.T) {
	t.Parallel()
	c := devtest.OwnNATSCluster(t)
	js := replicated(t, c.URL(), "S")
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	stop := func(i int) {
		t.Helper()
		if err := c.Stop(i); err != nil {
			t.Fatal(err)
		}
	}
	stop(0)
	stop(1)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if ack, err := js.Publish(ctx, "s", []byte("unheard")); err == nil {
		t.Errorf("one node of three acked: %v", ack)
	}
	stop(2)
	if _, err := c.Leader("S"); err == nil {
		t.Error("a stopped cluster has a leader")
	}
	if err := c.StepDown(t.Context(), "S"); err == nil {
		t.Error("a stopped cluster elected a leader")
	}
	for i := range 3 {
		if err := c.Start(i); err != nil {
			t.Fatal(err)
		}
	}
	devtest.Eventually(t, within, "three replicas up to date", func() error { return upToDate(t, js, "S", 1) })
	if err := c.StepDown(t.Context(), "no such stream"); err == nil {
		t.Error("nobody stepped down")
	}
}

// A leader that is cut off acks nothing, and forgets what it took in alone.
func TestNATSClusterIsolatedLeader(t *testing.T) {
	t.Parallel()
	c := devtest.OwnNATSCluster(t)
	js := replicated(t, c.URL(), "S")
	publish := func(js jetstream.JetStream, msg string, timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		_, err := js.Publish(ctx, "s", []byte(msg), jetstream.WithMsgID(msg))
		return err
	}
	if err := publish(js, "kept", within); err != nil {
		t.Fatal(err)
	}
	old, err := c.Leader("S")
	if err != nil {
		t.Fatal(err)
	}
	alone, err := jetstream.New(connectNATS(t, c.Node(old)))
	if err != nil {
		t.Fatal(err)
	}
	majority, err := jetstream.New(connectNATS(t, c.Node((old+1)%3)))
	if err != nil {
		t.Fatal(err)
	}
	c.Isolate(old)
	if err := publish(alone, "unheard", 500*time.Millisecond); err == nil {
		t.Error("a leader without followers acked")
	}
	devtest.Eventually(t, within, "another leader", func() error { _, err := c.Leader("S"); return err })
	devtest.Eventually(t, within, "ack of the majority", func() error { return publish(majority, "heard", time.Second) })
	if err := c.Rejoin(old); err != nil {
		t.Fatal(err)
	}
	devtest.Eventually(t, within, "three replicas up to date", func() error { return upToDate(t, majority, "S", 2) })
	// Until it knows the stream's leader, the node answers 503.
	devtest.Eventually(t, within, "the stream, through the node that was alone", func() error {
		return holds(t, alone, "S", "kept", "heard")
	})
}

// replicated connects to all nodes of a cluster and creates a stream with subject s
// and three replicas.
func replicated(t *testing.T, url, stream string) jetstream.JetStream {
	t.Helper()
	if strings.Count(url, ",") != 2 {
		t.Fatalf("not three URLs: %s", url)
	}
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{"s"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// upToDate reports, as an error, what keeps three replicas from holding msgs messages.
func upToDate(t *testing.T, js jetstream.JetStream, name string, msgs uint64) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if info.State.Msgs != msgs {
		return fmt.Errorf("%d messages, want %d", info.State.Msgs, msgs)
	}
	if info.Cluster.Leader == "" || len(info.Cluster.Replicas) != 2 {
		return fmt.Errorf("leader %q, followers %v", info.Cluster.Leader, info.Cluster.Replicas)
	}
	for _, replica := range info.Cluster.Replicas {
		if !replica.Current || replica.Offline {
			return errors.New(replica.Name + " is behind")
		}
	}
	return nil
}

// holds reports, as an error, where a stream does not hold msgs from sequence 1 on.
func holds(t *testing.T, js jetstream.JetStream, name string, msgs ...string) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	for i, want := range msgs {
		msg, err := stream.GetMsg(ctx, uint64(i)+1)
		if err != nil {
			return err
		}
		if string(msg.Data) != want {
			return fmt.Errorf("sequence %d is %q, want %q", msg.Sequence, msg.Data, want)
		}
	}
	return nil
}
