package devstack

import (
	"context"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// Leader returns the index of the running node that leads a stream of the default account. It ignores isolated nodes,
// which may consider themselves leaders for a while. It returns an error if no node leads, because the stream does not
// exist or an election is in progress.
func (c *NATSCluster) Leader(stream string) (int, error) {
	c.mu.Lock()
	isolated := c.isolated
	c.mu.Unlock()
	for i, node := range c.nodes {
		if s := node.server(); s != nil && !isolated[i] && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no node leads stream %s", stream)
}

// StepDown makes the leader of a stream step down and returns when another node leads. It returns an error if the
// stream has no leader, or if no other node becomes leader before ctx ends.
func (c *NATSCluster) StepDown(ctx context.Context, stream string) error {
	before, err := c.Leader(stream)
	if err == nil {
		err = c.stepDown(before, stream)
	}
	if err == nil {
		err = await(ctx, "another leader", func(context.Context) error {
			now, err := c.Leader(stream)
			if err == nil && now == before {
				err = fmt.Errorf("node %d is still or again the leader", now)
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("step down from stream %s: %w", stream, err)
	}
	return nil
}

func (c *NATSCluster) stepDown(i int, stream string) error {
	s := c.nodes[i].server()
	if s == nil {
		return fmt.Errorf("node %d is stopped", i)
	}
	return s.JetStreamStepdownStream(server.DEFAULT_GLOBAL_ACCOUNT, stream)
}

// Isolate cuts all connections between node i and the other nodes, and prevents new ones, until Rejoin. The node
// continues to run and its clients stay connected, but it has no majority: it acknowledges nothing in a stream of three
// replicas. To the other nodes this looks like a crash. The isolated node does not step down, so the others elect a
// leader in its place only after 4 to 9 seconds. Isolating an isolated node is not an error.
func (c *NATSCluster) Isolate(i int) { c.setIsolated(i, true) }

// Rejoin ends the isolation of node i and returns when the node follows a meta leader again (60 s at most). The node
// discards what it stored while it was isolated. Its streams may still be electing a leader, and reply 503 until they
// have one, or be catching up. Node i and at least one other node must be running.
func (c *NATSCluster) Rejoin(i int) error {
	c.setIsolated(i, false)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := c.awaitCurrent(ctx, i); err != nil {
		return fmt.Errorf("rejoin nats node %d: %w", i, err)
	}
	return nil
}

func (c *NATSCluster) setIsolated(i int, isolated bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isolated[i] = isolated
	for from := range c.links {
		for to, l := range c.links[from] {
			if l != nil {
				l.setCut(c.isolated[from] || c.isolated[to])
			}
		}
	}
}
