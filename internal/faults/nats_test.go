package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

func testNATSKills(t *testing.T) {
	b := newBroker(t)
	scenario(t, "NATS: kill -9 and restart, under load", options{nats: b.url()}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 51))
		s.invalidator("")
		p := s.relay("relay", "")
		l := s.write(8, 2*time.Millisecond, false)
		s.flows()
		for range times(3, 20) {
			pause(t.Context(), time.Duration(rng.IntN(300))*time.Millisecond)
			began := time.Now()
			b.stop(true)
			b.start()
			s.recovered(began)
			s.row.faults++
		}
		l.stop()
		s.judge()
		s.row.note = fmt.Sprintf("acknowledged messages lost by %d of the kills", strings.Count(p.log.String(), "stream lost acknowledged"))
	})
}

// What breaks in a cluster: the leader steps down, is stopped in order, or cut off, which to the others is a crash.
func testNATSCluster(t *testing.T) {
	cluster := devtest.OwnNATSCluster(t)
	scenario(t, "NATS: R3 stream, step-down of the leader, stop of a node; leader cut off, relay cut off with its node", options{nats: cluster.URL(), replicas: 3}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 52))
		s.invalidator("")
		p := s.relay("relay", "")
		l := s.write(4, 2*time.Millisecond, false)
		s.flows()
		for i := range times(3, 8) {
			pause(t.Context(), time.Duration(rng.IntN(300))*time.Millisecond)
			leader := s.leader(cluster)
			began := time.Now()
			switch i % 5 {
			case 0, 1:
				s.must(cluster.StepDown(t.Context(), s.stream))
				s.recovered(began)
			case 2:
				node := (leader + rng.IntN(2)) % 3 // the leader every second time
				s.must(cluster.Stop(node))
				s.recovered(began)
				s.must(cluster.Start(node))
			case 3, 4:
				node := leader
				if i%5 == 4 {
					node = s.connectedTo(p, cluster)
				}
				cluster.Isolate(node)
				s.avoid(cluster.Node(node))
				s.recovered(began)
				s.must(cluster.Rejoin(node))
			}
			s.row.faults++
		}
		l.stop()
		s.judge()
	})
	if !full() { // its elections take half a minute
		return
	}
	scenario(t, "NATS: no responders: R3 stream without quorum", options{nats: cluster.URL(), replicas: 3}, func(s *scene) {
		s.invalidator("")
		p := s.relay("relay", "")
		l := s.write(4, 2*time.Millisecond, false)
		for i := range 2 {
			s.flows()
			first, second := i%3, (i+1)%3
			s.says(p, "publishing paused", func() {
				s.must(cluster.Stop(first))
				s.must(cluster.Stop(second))
			})
			s.waits(p, l)
			s.must(cluster.Start(first))
			began := time.Now()
			s.recovered(began)
			s.must(cluster.Start(second))
			s.row.faults++
		}
		l.stop()
		s.judge()
	})
}

// connectedTo is the node that a program is connected to, by what it said last.
func (s *scene) connectedTo(p *program, c *devstack.NATSCluster) (node int) {
	s.t.Helper()
	last := -1
	for i := range 3 {
		if at := strings.LastIndex(p.log.String(), c.Node(i).URL()); at > last {
			last, node = at, i
		}
	}
	return node
}

// avoid makes sure that we ourselves are connected to another node.
func (s *scene) avoid(node *devstack.NATS) {
	s.t.Helper()
	s.eventually(30*time.Second, "our connection to another node", func(context.Context) error {
		if at := s.nc.ConnectedUrl(); at == "" || at == node.URL() {
			return errors.Join(errors.New("not yet"), s.nc.ForceReconnect())
		}
		return nil
	})
}

func (s *scene) leader(c *devstack.NATSCluster) (leader int) {
	s.t.Helper()
	s.eventually(60*time.Second, "the stream has a leader", func(context.Context) (err error) {
		leader, err = c.Leader(s.stream)
		return err
	})
	return leader
}

func testNATSFull(t *testing.T) {
	discardNew := func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }
	scenario(t, "NATS: stream full with DiscardNew, by messages and by bytes", options{limit: discardNew}, func(s *scene) {
		s.invalidator("")
		p := s.relay("relay", "")
		l := s.write(4, 2*time.Millisecond, false)
		s.flows()
		for i := range times(2, 6) {
			says, state := "maximum messages exceeded", s.state()
			messages, bytes := int64(state.Msgs)+300, int64(-1) // room for less than the backlog
			if i%2 == 1 {
				says, messages, bytes = "maximum bytes exceeded", -1, int64(state.Bytes)+60_000
			}
			s.limit(messages, bytes)
			s.says(p, says, func() { s.backlog(600) })
			s.waits(p, l)
			began := time.Now()
			s.limit(-1, -1)
			s.recovered(began)
			s.row.faults++
		}
		l.stop()
		s.judge()
	})
}

// limit changes how much the stream may hold, -1 for all.
func (s *scene) limit(messages, bytes int64) {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), s.stream)
	s.must(err)
	c := stream.CachedInfo().Config
	c.MaxMsgs, c.MaxBytes = messages, bytes
	_, err = s.js.UpdateStream(s.t.Context(), c)
	s.must(err)
}

// testNATSNetwork breaks the connections of the relay and of the invalidator.
func testNATSNetwork(t *testing.T) {
	scenario(t, "NATS: connection cut, stalled, acks dropped, publishes dropped, sliced, delayed, refused, at random", options{}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 53))
		proxy, err := faultnet.Listen(strings.TrimPrefix(s.natsURL, "nats://"))
		s.must(err)
		t.Cleanup(func() {
			if err := proxy.Close(); err != nil {
				t.Error(err)
			}
		})
		s.natsURL = "nats://" + proxy.Addr()
		s.invalidator("")
		s.relay("relay", "")
		l := s.write(8, 2*time.Millisecond, false)
		for range times(7, 28) {
			s.flows()
			way := faultnet.Direction(rng.IntN(2))
			switch s.row.faults % 7 {
			case 0:
				proxy.Cut()
			case 1:
				proxy.Stall(way)
			case 2:
				proxy.Drop(faultnet.ToClient)
			case 3:
				proxy.Drop(faultnet.ToServer)
			case 4:
				proxy.Slice(way, 1+rng.IntN(64), 0)
			case 5:
				proxy.Slice(way, 200+rng.IntN(2000), time.Duration(1+rng.IntN(20))*time.Millisecond)
			case 6:
				proxy.Refuse()
			}
			pause(t.Context(), time.Duration(50+rng.IntN(times(400, 1500)))*time.Millisecond)
			if proxy.Dropped(faultnet.ToClient)+proxy.Dropped(faultnet.ToServer) > 0 {
				proxy.Refuse() // what comes after a gap in its bytes, TCP would not deliver
			}
			began := time.Now()
			proxy.Heal()
			s.recovered(began)
			s.row.faults++
		}
		l.stop()
		s.judge()
	})
}
