package devstack

import (
	"context"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
)

// Leader returns the index of the running node that leads a stream (of the account
// that clients without a user have). Isolated nodes do not count, though they may
// believe in themselves for a while. It is an error if none leads: there is no such
// stream, or an election is on.
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

// StepDown makes the leader of a stream give up and returns when another node leads.
// It is an error if none leads, or none else has led before ctx ends.
func (c *NATSCluster) StepDown(ctx context.Context, stream string) error {
	before, err := c.Leader(stream)
	if err == nil {
		err = c.stepDown(before, stream)
	}
	if err == nil {
		err = await(ctx, "another leader", func(context.Context) error {
			now, err := c.Leader(stream)
			if err == nil && now == before {
				err = fmt.Errorf("node %d still leads, or again", now)
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

// Isolate cuts node i off from the others, both ways, by closing their connections
// and whatever they try anew. The node runs on and its clients stay connected, but it
// has no majority: it acks nothing in a stream of three replicas. It does not resign,
// so the others find a leader for what it led after 4 to 9 seconds only: to them this
// is a crash. Isolating an isolated node is no error.
func (c *NATSCluster) Isolate(i int) { c.setIsolated(i, true) }

// Rejoin ends the isolation of node i and returns when it follows a meta leader again
// (60 s at most). What it took in alone is dropped. Its streams may still be electing a
// leader, and answer 503 meanwhile, or be catching up. It must be running, and so must
// another node.
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
