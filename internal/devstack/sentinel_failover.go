package devstack

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Failover orders the sentinels to promote the replica, and then waits as AwaitFailover does. The old master keeps
// running and accepts writes until the sentinels have made it a replica; those writes are lost. Failover returns an
// error if the replica is not running. The context bounds the call (60 s at most).
func (s *RedisSentinel) Failover(ctx context.Context) error {
	return bounded(ctx, "fail over redis", func(ctx context.Context) error {
		// Immediately after another fail-over the sentinels do not know the replica yet and reply NOGOODSLAVE.
		order := func(ctx context.Context) error {
			return withSentinel(ctx, s.sentinels[0], func(ctx context.Context, client *redis.SentinelClient) error {
				return client.Failover(ctx, masterName).Err()
			})
		}
		if err := s.checkReplica(); err != nil {
			return err
		}
		if err := await(ctx, "a sentinel to accept the fail-over", order); err != nil {
			return err
		}
		return s.awaitTakeover(ctx)
	})
}

// AwaitFailover waits until the sentinels have promoted the replica by themselves, two to three seconds after the
// master was stopped, killed or frozen. It returns when all sentinels agree and the old master, if it is running,
// replicates the new one; Master and Replica are then exchanged. AwaitFailover returns an error if the replica is not
// running. The context bounds the call (60 s at most).
func (s *RedisSentinel) AwaitFailover(ctx context.Context) error {
	return bounded(ctx, "await failover of redis", s.awaitTakeover)
}

// Settle waits until all sentinels agree on the master, and the replica, if it is running, replicates the master. Call
// it after Start or Thaw. If the sentinels failed over by themselves, call AwaitFailover first. The context bounds the
// call (60 s at most).
func (s *RedisSentinel) Settle(ctx context.Context) error {
	return bounded(ctx, "settle redis sentinel", s.awaitAgreed)
}

func (s *RedisSentinel) checkReplica() error {
	if !s.Replica().proc.running() {
		return errors.New("the replica is not running")
	}
	return nil
}

// awaitTakeover waits until the replica is the master and all sentinels agree.
func (s *RedisSentinel) awaitTakeover(ctx context.Context) error {
	if err := s.checkReplica(); err != nil {
		return err
	}
	replica := s.Replica()
	err := replica.withClient(ctx, func(ctx context.Context, client *redis.Client) error {
		return await(ctx, "promotion", func(ctx context.Context) error { return isMaster(ctx, client) })
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.pair.replica == replica {
		s.pair = redisPair{master: replica, replica: s.pair.master}
	}
	s.mu.Unlock()
	return s.awaitAgreed(ctx)
}

// awaitAgreed waits until each sentinel reports the roles that s records, and knows the other sentinels.
func (s *RedisSentinel) awaitAgreed(ctx context.Context) error {
	return await(ctx, "all sentinels to agree", func(ctx context.Context) error {
		pair := s.roles()
		for n, p := range s.sentinels {
			if err := withSentinel(ctx, p, pair.watched); err != nil {
				return fmt.Errorf("sentinel %d: %w", n, err)
			}
		}
		return pair.linked(ctx)
	})
}

// watched returns nil if a sentinel knows the master, the replica if that is running, and the other sentinels.
func (p redisPair) watched(ctx context.Context, client *redis.SentinelClient) error {
	master, err := client.Master(ctx, masterName).Result()
	if err != nil {
		return err
	}
	if master["port"] != portText(p.master) || master["flags"] != "master" {
		return fmt.Errorf("the master has port %s and flags %s", master["port"], master["flags"])
	}
	if others := master["num-other-sentinels"]; others != strconv.Itoa(sentinels-1) {
		return fmt.Errorf("it knows %s other sentinels, want %d", others, sentinels-1)
	}
	if err := client.CkQuorum(ctx, masterName).Err(); err != nil || !p.replica.proc.running() {
		return err
	}
	replicas, err := client.Replicas(ctx, masterName).Result()
	if err != nil {
		return err
	}
	for _, r := range replicas {
		if r["port"] == portText(p.replica) && r["flags"] == "slave" && r["master-link-status"] == "ok" && r["master-port"] == portText(p.master) {
			return nil
		}
	}
	return fmt.Errorf("it knows no replica %s with a link to the master: %v", portText(p.replica), replicas)
}
