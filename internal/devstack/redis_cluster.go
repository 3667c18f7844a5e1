package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// shards is the number of masters. Two of them are a majority.
	shards = 3
	// slots is the number of hash slots, a constant of the cluster protocol.
	slots = 16384
	// nodeTimeout is how long a node may be unreachable before the others start a fail-over.
	nodeTimeout = 2 * time.Second
)

// RedisClusterConfig configures a cluster. The zero value is usable.
type RedisClusterConfig struct {
	// Replicas is the number of replicas of each master, 0 or 1. Defaults to 0.
	Replicas int
	// Args are additional arguments of each node's command line; see RedisConfig.Args.
	Args []string
	// Dir is the parent of the nodes' own folders. Defaults to the temporary folder.
	Dir string
	// Log receives one line that describes the cluster and its address. Defaults to no log.
	Log io.Writer
}

// RedisCluster is a Redis Cluster of three shards. Each of its three masters owns one of three equal ranges of slots
// and has a replica if so configured. Like [Redis], a stopped node is empty when it starts again; it still knows its
// peers and its role. Its methods are safe for concurrent use.
//
// The cluster detects failures by itself. Two seconds after a master became unreachable, all nodes refuse commands with
// CLUSTERDOWN. That ends when the master's replica has taken over, one or two seconds later, or, without a replica,
// when the master is back.
type RedisCluster struct {
	nodes []*Redis // 0 to 2 started as masters, 3 to 5 as their replicas; never changes

	mu    sync.Mutex
	roles [shards]redisPair
}

// A redisPair is a master and its replica.
type redisPair struct{ master, replica *Redis } // replica may be nil

// StartRedisCluster starts a cluster and returns when all nodes report that the cluster is available. That takes about
// two seconds, because nodes wait that long after a start, and 60 s at most. The context bounds the start, not the
// lifetime of the cluster. The caller must Close the cluster. StartRedisCluster returns [ErrMissing] if redis-server is
// not installed. It requires redis-server 7.0 or newer.
func StartRedisCluster(ctx context.Context, cfg RedisClusterConfig) (*RedisCluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c := &RedisCluster{}
	if err := c.start(ctx, cfg); err != nil {
		return nil, fmt.Errorf("start redis cluster: %w", errors.Join(err, c.Close()))
	}
	logf(cfg.Log, "redis: using a cluster of %d nodes, %s", len(c.nodes), c.URL())
	return c, nil
}

func (c *RedisCluster) start(ctx context.Context, cfg RedisClusterConfig) error {
	if cfg.Replicas < 0 || cfg.Replicas > 1 {
		return fmt.Errorf("invalid number of replicas %d; want 0 or 1", cfg.Replicas)
	}
	nodes, err := launchTogether(ctx, (1+cfg.Replicas)*shards, func() *Redis {
		return &Redis{cfg: RedisConfig{Args: cfg.Args, Dir: cfg.Dir}, group: redisGroup{bus: true}}
	})
	c.nodes = nodes
	if err != nil {
		return err
	}
	for i := range shards {
		c.roles[i].master = c.nodes[i]
		if cfg.Replicas == 1 {
			c.roles[i].replica = c.nodes[shards+i]
		}
	}
	for i := range shards {
		if err := c.nodes[i].withClient(ctx, takeSlots(i)); err != nil {
			return fmt.Errorf("assign slots to node %d: %w", i, err)
		}
	}
	for i, node := range c.nodes {
		if err := node.withClient(ctx, meet(c.nodes[i+1:])); err != nil {
			return fmt.Errorf("introduce node %d: %w", i, err)
		}
	}
	for i, pair := range c.roles {
		if pair.replica == nil {
			continue
		}
		if err := followInCluster(ctx, pair); err != nil {
			return fmt.Errorf("make node %d a replica: %w", shards+i, err)
		}
	}
	return c.awaitAgreed(ctx)
}

// launchTogether starts n servers concurrently. After an error it still returns the servers that did start.
func launchTogether(ctx context.Context, n int, newServer func() *Redis) ([]*Redis, error) {
	started, errs := make([]*Redis, n), make([]error, n)
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() { started[i], errs[i] = launchRedis(ctx, newServer()) })
	}
	work.Wait()
	var running []*Redis
	for _, r := range started {
		if r != nil {
			running = append(running, r)
		}
	}
	return running, errors.Join(errs...)
}

// slotRange returns the first and the last slot of shard i.
func slotRange(i int) (first, last int) { return i * slots / shards, (i+1)*slots/shards - 1 }

// takeSlots makes a node that has not met other nodes the master of shard i. Each node gets a different epoch, so that
// the nodes need not resolve a conflict.
func takeSlots(i int) func(context.Context, *redis.Client) error {
	return func(ctx context.Context, client *redis.Client) error {
		if err := client.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return err
		}
		first, last := slotRange(i)
		return client.ClusterAddSlotsRange(ctx, first, last).Err()
	}
}

// meet introduces a node to others. Every pair of nodes is introduced directly: learning it by gossip takes a second.
func meet(others []*Redis) func(context.Context, *redis.Client) error {
	return func(ctx context.Context, client *redis.Client) error {
		for _, other := range others {
			port, bus := other.proc.port, other.proc.others[0]
			if err := client.Do(ctx, "cluster", "meet", "127.0.0.1", port, bus).Err(); err != nil {
				return err
			}
		}
		return nil
	}
}

// followInCluster makes a node the replica of its master, as soon as the node has met the master.
func followInCluster(ctx context.Context, pair redisPair) error {
	var id string
	err := pair.master.withClient(ctx, func(ctx context.Context, client *redis.Client) error {
		var err error
		id, err = client.ClusterMyID(ctx).Result()
		return err
	})
	if err != nil {
		return err
	}
	return pair.replica.withClient(ctx, func(ctx context.Context, client *redis.Client) error {
		return await(ctx, "the replica to know its master", func(ctx context.Context) error {
			return client.ClusterReplicate(ctx, id).Err()
		})
	})
}

// URL returns redis-cluster://127.0.0.1:port,… with all nodes, including stopped ones.
func (c *RedisCluster) URL() string { return "redis-cluster://" + strings.Join(c.Addrs(), ",") }

// Addrs returns host:port of each node, including stopped ones, in the order of Nodes.
func (c *RedisCluster) Addrs() []string {
	var addrs []string
	for _, node := range c.nodes {
		addrs = append(addrs, address(node.proc.port))
	}
	return addrs
}

// Nodes returns all nodes: first the initial masters of shards 0 to 2, then their replicas, if any. The caller may use
// their Stop, Kill, Start, Freeze, FreezeDetached and Thaw, but must close them through the cluster.
func (c *RedisCluster) Nodes() []*Redis { return append([]*Redis(nil), c.nodes...) }

// Master returns the master of shard i, 0 to 2: the initial master, or the node that took over in the last Failover or
// AwaitFailover. It panics if i is out of range.
func (c *RedisCluster) Master(i int) *Redis { return c.pair(i).master }

// Replica returns the other node of shard i, or nil if the shard has only one. See Master.
func (c *RedisCluster) Replica(i int) *Redis { return c.pair(i).replica }

// MasterOf returns the master of the shard that a key belongs to.
func (c *RedisCluster) MasterOf(key string) *Redis { return c.Master(c.Shard(key)) }

func (c *RedisCluster) pair(i int) redisPair {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roles[i]
}

// Slot returns the slot of a key, 0 to 16383: the CRC16 (XMODEM) of the text between the first { and the next }, or of
// the whole key if that text is missing or empty, modulo 16384
// (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec).
func (*RedisCluster) Slot(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			carry := crc >> 15
			crc = crc<<1 ^ carry*0x1021
		}
	}
	return int(crc % slots)
}

// Shard returns the shard that a key belongs to, 0 to 2. The assignment of slots to shards never changes.
func (c *RedisCluster) Shard(key string) int {
	slot := c.Slot(key)
	for i := range shards {
		if _, last := slotRange(i); slot <= last {
			return i
		}
	}
	panic("no shard for slot " + strconv.Itoa(slot))
}

// Close stops all nodes and removes their folders. It is idempotent.
func (c *RedisCluster) Close() error { return closeTogether(c.nodes) }

func closeTogether(servers []*Redis) error {
	errs := make([]error, len(servers))
	var work sync.WaitGroup
	for i, r := range servers {
		work.Go(func() { errs[i] = r.Close() })
	}
	work.Wait()
	return errors.Join(errs...)
}
