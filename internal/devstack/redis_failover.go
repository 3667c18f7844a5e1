package devstack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Failover makes the replica of shard i take over immediately, with the data that it has received so far and without
// the consent of the other nodes (CLUSTER FAILOVER TAKEOVER), unless it has already taken over. Failover returns when
// all running nodes agree; Master(i) and Replica(i) are then exchanged. The old master may be running, frozen or
// stopped. If it is running, it becomes the replica and discards writes that the new master does not have. Failover
// returns an error if shard i has no running replica, or if the other shards have no master. The context bounds the
// call (60 s at most).
func (c *RedisCluster) Failover(ctx context.Context, i int) error {
	return bounded(ctx, fmt.Sprintf("fail over redis shard %d", i), func(ctx context.Context) error {
		return c.exchange(ctx, i, takeOver)
	})
}

// AwaitFailover waits until the replica of shard i has taken over by itself and all running nodes agree, about four
// seconds after the master was stopped, killed or frozen. Master(i) and Replica(i) are then exchanged. AwaitFailover
// returns an error if shard i has no running replica. The context bounds the call (60 s at most).
func (c *RedisCluster) AwaitFailover(ctx context.Context, i int) error {
	return bounded(ctx, fmt.Sprintf("await failover of redis shard %d", i), func(ctx context.Context) error {
		return c.exchange(ctx, i, isMaster)
	})
}

// Settle waits until all running nodes agree that the cluster is available and which node is master and replica of each
// shard, and each running replica has its master's data. Call it after Start or Thaw. If a shard failed over by itself,
// call AwaitFailover first. The context bounds the call (60 s at most).
func (c *RedisCluster) Settle(ctx context.Context) error {
	return bounded(ctx, "settle redis cluster", c.awaitAgreed)
}

// exchange calls promoted until it returns nil for the replica of shard i, which is then the master.
func (c *RedisCluster) exchange(ctx context.Context, i int, promoted func(context.Context, *redis.Client) error) error {
	replica := c.Replica(i)
	if replica == nil || !replica.proc.running() {
		return errors.New("the shard has no running replica")
	}
	err := replica.withClient(ctx, func(ctx context.Context, client *redis.Client) error {
		return await(ctx, "takeover", func(ctx context.Context) error { return promoted(ctx, client) })
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

// takeOver makes a replica a master. It does nothing to a master.
func takeOver(ctx context.Context, client *redis.Client) error {
	if err := isMaster(ctx, client); !errors.Is(err, errNotYet) {
		return err
	}
	if err := client.Do(ctx, "cluster", "failover", "takeover").Err(); err != nil {
		return err
	}
	return isMaster(ctx, client)
}

// awaitAgreed waits until each running node reports the roles that c records.
func (c *RedisCluster) awaitAgreed(ctx context.Context) error {
	return await(ctx, "all nodes to agree", func(ctx context.Context) error {
		for n, node := range c.nodes {
			if !node.proc.running() {
				continue
			}
			if err := node.withClient(ctx, c.agrees); err != nil {
				return fmt.Errorf("node %d: %w", n, err)
			}
		}
		return c.linked(ctx)
	})
}

// agrees returns nil if a node reports that the cluster is available and that each shard has the master that c records,
// and the replica if that is running.
func (c *RedisCluster) agrees(ctx context.Context, client *redis.Client) error {
	info, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok") {
		return errors.New("the cluster is not available")
	}
	//lint:ignore SA1019 unlike its replacement, it lists only replicas that are up to date
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

// holdsShard returns nil if the slots of shard i belong to a pair. For each range of slots the server lists the master
// first and then the replicas that it considers alive and up to date.
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
	return fmt.Errorf("no node has slots %d to %d", first, last)
}

// linked returns nil if each running replica is connected to its running master.
func (c *RedisCluster) linked(ctx context.Context) error {
	for i := range shards {
		if err := c.pair(i).linked(ctx); err != nil {
			return fmt.Errorf("shard %d: %w", i, err)
		}
	}
	return nil
}

// linked returns nil if the replica is connected to the master, or if one of them is not running.
func (p redisPair) linked(ctx context.Context) error {
	if p.replica == nil || !p.replica.proc.running() || !p.master.proc.running() {
		return nil
	}
	return p.replica.withClient(ctx, func(ctx context.Context, client *redis.Client) error {
		info, err := replication(ctx, client)
		if err != nil {
			return err
		}
		if info["master_link_status"] != "up" || info["master_port"] != portText(p.master) {
			return fmt.Errorf("%s is not connected to its master", address(p.replica.proc.port))
		}
		return nil
	})
}
