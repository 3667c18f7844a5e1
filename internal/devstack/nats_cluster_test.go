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

// A replicated stream survives a change of its leader, the stop of its leader, and the restart of that node.
func TestNATSClusterKeepsStream(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	c, err := devstack.StartNATSCluster(devstack.NATSClusterConfig{Dir: parent, SyncAlways: true, MaxPayload: 4096})
	must(t, err)
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
	must(t, err)
	must(t, c.StepDown(t.Context(), "S"))
	leader, err := c.Leader("S")
	if err != nil || leader == before {
		t.Fatalf("leader after StepDown: %d, %v; want another node than %d", leader, err, before)
	}
	publish("second")

	for range 2 { // stopping a stopped node is not an error
		must(t, c.Stop(leader))
	}
	if _, err := nats.Connect(c.Node(leader).URL()); err == nil {
		t.Error("connecting to a stopped node succeeded")
	}
	devtest.Eventually(t, within, "another leader", func() error {
		now, err := c.Leader("S")
		if err == nil && now == leader {
			err = fmt.Errorf("the leader is node %d, which is stopped", now)
		}
		return err
	})
	publish("third")
	must(t, c.Start(leader))
	if err := c.Start(leader); err == nil {
		t.Error("Start of a running node succeeded")
	}
	devtest.Eventually(t, within, "three replicas up to date", func() error { return upToDate(t, js, "S", 3) })
	wantClosed(t, parent, c)
}

// Without a majority no message is acknowledged. Acknowledged messages are available again once there is a majority.
func TestNATSClusterWithoutMajority(t *testing.T) {
	t.Parallel()
	c := devtest.OwnNATSCluster(t)
	js := replicated(t, c.URL(), "S")
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	stop := func(i int) {
		t.Helper()
		must(t, c.Stop(i))
	}
	stop(0)
	stop(1)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if ack, err := js.Publish(ctx, "s", []byte("lost")); err == nil {
		t.Errorf("one node of three acknowledged a message: %v", ack)
	}
	stop(2)
	if _, err := c.Leader("S"); err == nil {
		t.Error("Leader of a stopped cluster succeeded")
	}
	if err := c.StepDown(t.Context(), "S"); err == nil {
		t.Error("StepDown in a stopped cluster succeeded")
	}
	for i := range 3 {
		must(t, c.Start(i))
	}
	devtest.Eventually(t, within, "three replicas up to date", func() error { return upToDate(t, js, "S", 1) })
	if err := c.StepDown(t.Context(), "no such stream"); err == nil {
		t.Error("StepDown of a missing stream succeeded")
	}
}

// An isolated leader acknowledges no message, and discards what it stored in isolation.
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
	must(t, publish(js, "kept", within))
	old, err := c.Leader("S")
	must(t, err)
	isolated, err := jetstream.New(connectNATS(t, c.Node(old)))
	must(t, err)
	majority, err := jetstream.New(connectNATS(t, c.Node((old+1)%3)))
	must(t, err)
	c.Isolate(old)
	if err := publish(isolated, "lost", 500*time.Millisecond); err == nil {
		t.Error("an isolated leader acknowledged a message")
	}
	devtest.Eventually(t, within, "another leader", func() error { _, err := c.Leader("S"); return err })
	devtest.Eventually(t, within, "ack of the majority", func() error { return publish(majority, "acked", time.Second) })
	must(t, c.Rejoin(old))
	devtest.Eventually(t, within, "three replicas up to date", func() error { return upToDate(t, majority, "S", 2) })
	// The node replies 503 until it knows the leader of the stream.
	devtest.Eventually(t, within, "messages readable through the node that was isolated", func() error {
		return holds(t, isolated, "S", "kept", "acked")
	})
}

// replicated connects to all nodes of a cluster and creates a stream with subject s and three replicas.
func replicated(t *testing.T, url, stream string) jetstream.JetStream {
	t.Helper()
	if strings.Count(url, ",") != 2 {
		t.Fatalf("got %s, want three URLs", url)
	}
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream, Subjects: []string{"s"}, Replicas: 3})
	must(t, err)
	return js
}

// upToDate returns an error unless all three replicas of a stream are online and have msgs messages.
func upToDate(t *testing.T, js jetstream.JetStream, name string, msgs uint64) error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if info.State.Msgs != msgs {
		return fmt.Errorf("got %d messages, want %d", info.State.Msgs, msgs)
	}
	if info.Cluster.Leader == "" || len(info.Cluster.Replicas) != 2 {
		return fmt.Errorf("leader %q, followers %v", info.Cluster.Leader, info.Cluster.Replicas)
	}
	for _, replica := range info.Cluster.Replicas {
		if !replica.Current || replica.Offline {
			return errors.New(replica.Name + " is not up to date")
		}
	}
	return nil
}

// holds returns an error unless a stream contains msgs from sequence 1 on.
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
