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
	runScenario(t, "NATS: kill -9 and restart, under load", options{nats: b.url()}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 51))
		s.startInvalidator("")
		p := s.startRelay("relay", "")
		l := s.startLoad(8, 2*time.Millisecond, false)
		s.probe()
		for range times(3, 20) {
			pause(t.Context(), time.Duration(rng.IntN(300))*time.Millisecond)
			began := time.Now()
			b.stop(true)
			b.start()
			s.measureRecovery(began)
			s.row.faults++
		}
		l.stop()
		s.verify()
		s.row.note = fmt.Sprintf("%d of the kills lost acknowledged messages", strings.Count(p.log.String(), "stream lost acknowledged"))
	})
}

// testNATSCluster injects the faults of a cluster: the leader steps down, is shut down, or is isolated, which looks
// like a crash to the other nodes.
func testNATSCluster(t *testing.T) {
	cluster := devtest.OwnNATSCluster(t)
	runScenario(t, "NATS: R3 stream, step-down of the leader, stop of a node; leader isolated, relay isolated with its node", options{nats: cluster.URL(), replicas: 3}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 52))
		s.startInvalidator("")
		p := s.startRelay("relay", "")
		l := s.startLoad(4, 2*time.Millisecond, false)
		s.probe()
		for i := range times(3, 8) {
			pause(t.Context(), time.Duration(rng.IntN(300))*time.Millisecond)
			leader := s.awaitLeader(cluster)
			began := time.Now()
			switch i % 5 {
			case 0, 1:
				s.must(cluster.StepDown(t.Context(), s.stream))
				s.measureRecovery(began)
			case 2:
				node := (leader + rng.IntN(2)) % 3 // the leader in half of the cases
				s.must(cluster.Stop(node))
				s.measureRecovery(began)
				s.must(cluster.Start(node))
			case 3, 4:
				node := leader
				if i%5 == 4 {
					node = s.connectedNode(p, cluster)
				}
				cluster.Isolate(node)
				s.reconnectAvoiding(cluster.Node(node))
				s.measureRecovery(began)
				s.must(cluster.Rejoin(node))
			}
			s.row.faults++
		}
		l.stop()
		s.verify()
	})
	if !full() { // the elections of the next scenario take half a minute
		return
	}
	runScenario(t, "NATS: no responders: R3 stream without quorum", options{nats: cluster.URL(), replicas: 3}, func(s *scenario) {
		s.startInvalidator("")
		p := s.startRelay("relay", "")
		l := s.startLoad(4, 2*time.Millisecond, false)
		for i := range 2 {
			s.probe()
			first, second := i%3, (i+1)%3
			s.awaitLog(p, "publishing interrupted", func() {
				s.must(cluster.Stop(first))
				s.must(cluster.Stop(second))
			})
			s.awaitPending(p, l)
			s.must(cluster.Start(first))
			began := time.Now()
			s.measureRecovery(began)
			s.must(cluster.Start(second))
			s.row.faults++
		}
		l.stop()
		s.verify()
	})
}

// connectedNode returns the node that a program named last in its log, which is the one it is connected to.
func (s *scenario) connectedNode(p *program, c *devstack.NATSCluster) (node int) {
	s.t.Helper()
	last := -1
	for i := range 3 {
		if at := strings.LastIndex(p.log.String(), c.Node(i).URL()); at > last {
			last, node = at, i
		}
	}
	return node
}

// reconnectAvoiding waits until the connection of the scenario uses another node.
func (s *scenario) reconnectAvoiding(node *devstack.NATS) {
	s.t.Helper()
	s.eventually(30*time.Second, "connection to another node", func(context.Context) error {
		if at := s.nc.ConnectedUrl(); at == "" || at == node.URL() {
			return errors.Join(fmt.Errorf("connected to %q", at), s.nc.ForceReconnect())
		}
		return nil
	})
}

func (s *scenario) awaitLeader(c *devstack.NATSCluster) (leader int) {
	s.t.Helper()
	s.eventually(60*time.Second, "leader of the stream", func(context.Context) (err error) {
		leader, err = c.Leader(s.stream)
		return err
	})
	return leader
}

func testNATSFull(t *testing.T) {
	discardNew := func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew }
	runScenario(t, "NATS: stream full with DiscardNew, by messages and by bytes", options{limit: discardNew}, func(s *scenario) {
		s.startInvalidator("")
		p := s.startRelay("relay", "")
		l := s.startLoad(4, 2*time.Millisecond, false)
		s.probe()
		for i := range times(2, 6) {
			log, state := "maximum messages exceeded", s.awaitState()
			messages, bytes := int64(state.Msgs)+300, int64(-1) // less room than the backlog needs
			if i%2 == 1 {
				log, messages, bytes = "maximum bytes exceeded", -1, int64(state.Bytes)+60_000
			}
			s.setLimits(messages, bytes)
			s.awaitLog(p, log, func() { s.insertBacklog(600) })
			s.awaitPending(p, l)
			began := time.Now()
			s.setLimits(-1, -1)
			s.measureRecovery(began)
			s.row.faults++
		}
		l.stop()
		s.verify()
	})
}

// setLimits sets the maximum messages and bytes of the stream; -1 means no limit.
func (s *scenario) setLimits(messages, bytes int64) {
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
	runScenario(t, "NATS: connection cut, stalled, acks dropped, publishes dropped, sliced, delayed, refused, at random", options{}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 53))
		proxy, through := devtest.Proxy(t, s.natsURL)
		s.natsURL = through
		s.startInvalidator("")
		s.startRelay("relay", "")
		l := s.startLoad(8, 2*time.Millisecond, false)
		for range times(7, 28) {
			s.probe()
			direction := faultnet.Direction(rng.IntN(2))
			switch s.row.faults % 7 {
			case 0:
				proxy.Cut()
			case 1:
				proxy.Stall(direction)
			case 2:
				proxy.Drop(faultnet.ToClient)
			case 3:
				proxy.Drop(faultnet.ToServer)
			case 4:
				proxy.Slice(direction, 1+rng.IntN(64), 0)
			case 5:
				proxy.Slice(direction, 200+rng.IntN(2000), time.Duration(1+rng.IntN(20))*time.Millisecond)
			case 6:
				proxy.Refuse()
			}
			pause(t.Context(), time.Duration(50+rng.IntN(times(400, 1500)))*time.Millisecond)
			if proxy.Dropped(faultnet.ToClient)+proxy.Dropped(faultnet.ToServer) > 0 {
				proxy.Refuse() // resets connections whose byte stream has a gap, which TCP would never deliver
			}
			began := time.Now()
			proxy.Heal()
			s.measureRecovery(began)
			s.row.faults++
		}
		l.stop()
		s.verify()
	})
}
