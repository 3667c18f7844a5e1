package devstack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Failover makes the replica of shard i take over now, whatever it has received so
// far and whatever the others say (CLUSTER FAILOVER TAKEOVER), unless it did by itself
// already, and returns when all running nodes agree. The old master may run, be frozen
// or be gone: where it runs it becomes the replica and forgets what only it held. From
// then on Master(i) and Replica(i) have changed places. It is an error if shard i has
// no replica that runs, or the other shards have no master. The context bounds it
// (60 s at most).
func (c *RedisCluster) Failover(ctx context.Context, i int) error {
	if err := c.failover(ctx, i, takeOver); err != nil {
		return fmt.Errorf("fail over redis shard %d: %w", i, err)
	}
	return nil
}

// AwaitFailover waits until the replica of shard i has taken over by itself and all
// running nodes agree: about four seconds after the master was stopped, killed or
// frozen. From then on Master(i) and Replica(i) have changed places. It is an error if
// shard i has no replica that runs. The context bounds it (60 s at most).
func (c *RedisCluster) AwaitFailover(ctx context.Context, i int) error {
	if err := c.failover(ctx, i, isMaster); err != nil {
		return fmt.Errorf("await failover of redis shard %d: %w", i, err)
	}
	return nil
}

// Settle waits until all running nodes agree that the cluster serves, and who is master
// and replica in each shard, and each running replica holds what its master does: of
// use after Start or Thaw. A shard that failed over by itself needs AwaitFailover
// first. The context bounds it (60 s at most).
func (c *RedisCluster) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.awaitAgreed(ctx); err != nil {
		return fmt.Errorf("settle redis cluster: %w", err)
	}
	return nil
}

// failover waits until the replica of shard i is its master, by the look given.
func (c *RedisCluster) failover(ctx context.Context, i int, look func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	replica := c.Replica(i)
	if replica == nil || !replica.proc.running() {
		return errors.New("it has no replica that runs")
	}
	err := replica.ask(ctx, func(ctx context.Context, client *redis.Client) error {
		return await(ctx, "takeover", func(ctx context.Context) error { return look(ctx, client) })
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.roles[i].replica == replica {
		c.roles[i] = redisPair{master: replica, replica: c.roles[i].master}
	}
	c.mu.Unlock()
	return c.awaitAgreed(ctx)
}

// isMaster returns nil if a server is a master.
func isMaster(ctx context.Context, client *redis.Client) error {
	info, err := replication(ctx, client)
	if err == nil && info["role"] != "master" {
		err = errNotYet
	}
	return err
}

// takeOver makes a replica a master, if it is none.
func takeOver(ctx context.Context, client *redis.Client) error {
	if err := isMaster(ctx, client); !errors.Is(err, errNotYet) {
		return err
	}
	if err := client.Do(ctx, "cluster", "failover", "takeover").Err(); err != nil {
		return err
	}
	return isMaster(ctx, client)
}

// awaitAgreed waits until each running node sees the cluster as we do.
func (c *RedisCluster) awaitAgreed(ctx context.Context) error {
	return await(ctx, "agreement of all nodes", func(ctx context.Context) error {
		for n, node := range c.nodes {
			if !node.proc.running() {
				continue
			}
			if err := node.ask(ctx, c.agrees); err != nil {
				return fmt.Errorf("node %d: %w", n, err)
			}
		}
		return c.linked(ctx)
	})
}

// agrees returns nil if a node says that the cluster serves, and that each shard has
// the master that we know, and the replica if that runs.
func (c *RedisCluster) agrees(ctx context.Context, client *redis.Client) error {
	info, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok") {
		return errors.New("the cluster does not serve")
	}
	//lint:ignore SA1019 it lists only replicas that are in step, which is what is asked here
	ranges, err := client.ClusterSlots(ctx).Result()
	if err != nil {
		return err
	}
	for i := range shards {
		if err := holdsShard(ranges, i, c.pair(i)); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	return nil
}

// holdsShard returns nil if the slots of shard i belong to a pair. The server lists
// the master first and then replicas that it takes for alive and in step.
func holdsShard(ranges []redis.ClusterSlot, i int, pair redisPair) error {
	first, last := slotRange(i)
	for _, r := range ranges {
		if r.Start != first || r.End != last || len(r.Nodes) == 0 {
			continue
		}
		if want := address(pair.master.proc.port); r.Nodes[0].Addr != want {
			return fmt.Errorf("master %s, want %s", r.Nodes[0].Addr, want)
		}
		if pair.replica == nil || !pair.replica.proc.running() {
			return nil
		}
		want := address(pair.replica.proc.port)
		for _, node := range r.Nodes[1:] {
			if node.Addr == want {
				return nil
			}
		}
		return fmt.Errorf("no replica %s", want)
	}
	return fmt.Errorf("nobody has slots %d to %d", first, last)
}

// linked returns nil if each running replica holds what its running master does.
func (c *RedisCluster) linked(ctx context.Context) error {
	for i := range shards {
		if err := c.pair(i).linked(ctx); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	return nil
}

// linked returns nil if the replica follows the master, as far as both run.
func (p redisPair) linked(ctx context.Context) error {
	if p.replica == nil || !p.replica.proc.running() || !p.master.proc.running() {
		return nil
	}
	return p.replica.ask(ctx, func(ctx context.Context, client *redis.Client) error {
		info, err := replication(ctx, client)
		if err != nil {
			return err
		}
		if info["master_link_status"] != "up" || info["master_port"] != portText(p.master) {
			return fmt.Errorf("%s has no link to its master", address(p.replica.proc.port))
		}
		return nil
	})
}
