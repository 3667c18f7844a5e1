package devstack

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Failover orders the sentinels to make the replica the master, and returns as
// AwaitFailover does. The master runs meanwhile, and takes writes until the sentinels
// have made it a replica: those are lost. It is an error if the replica does not run.
// The context bounds it (60 s at most).
func (s *RedisSentinel) Failover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := s.runningReplica()
	if err == nil {
		// Right after another failover, sentinels do not know their replica yet: NOGOODSLAVE.
		err = await(ctx, "order to fail over", func(ctx context.Context) error {
			return askSentinel(ctx, s.sentinels[0], func(ctx context.Context, client *redis.SentinelClient) error {
				return client.Failover(ctx, masterName).Err()
			})
		})
	}
	if err == nil {
		err = s.awaitTakeover(ctx)
	}
	if err != nil {
		return fmt.Errorf("fail over redis: %w", err)
	}
	return nil
}

// AwaitFailover waits until the sentinels have made the replica the master by
// themselves: two to three seconds after the master was stopped, killed or frozen. It
// returns when all sentinels agree and the old master, if it runs, follows. From then
// on Master and Replica have changed places. It is an error if the replica does not
// run. The context bounds it (60 s at most).
func (s *RedisSentinel) AwaitFailover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := s.runningReplica()
	if err == nil {
		err = s.awaitTakeover(ctx)
	}
	if err != nil {
		return fmt.Errorf("await failover of redis: %w", err)
	}
	return nil
}

// Settle waits until all sentinels agree who is master, and the replica, if it runs,
// follows: of use after Start or Thaw. If they failed over by themselves, AwaitFailover
// is needed first. The context bounds it (60 s at most).
func (s *RedisSentinel) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.awaitAgreed(ctx); err != nil {
		return fmt.Errorf("settle redis sentinel: %w", err)
	}
	return nil
}

func (s *RedisSentinel) runningReplica() error {
	if !s.Replica().proc.running() {
		return errors.New("the replica does not run")
	}
	return nil
}

// awaitTakeover waits until the replica is the master and all agree.
func (s *RedisSentinel) awaitTakeover(ctx context.Context) error {
	replica := s.Replica()
	err := replica.ask(ctx, func(ctx context.Context, client *redis.Client) error {
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

// awaitAgreed waits until each sentinel sees the servers as we do, and the other
// sentinels.
func (s *RedisSentinel) awaitAgreed(ctx context.Context) error {
	return await(ctx, "agreement of all sentinels", func(ctx context.Context) error {
		pair := s.roles()
		for n, p := range s.sentinels {
			if err := askSentinel(ctx, p, pair.watched); err != nil {
				return fmt.Errorf("sentinel %d: %w", n, err)
			}
		}
		return pair.linked(ctx)
	})
}

// watched returns nil if a sentinel knows the master, the replica as far as it runs, and
// its fellows.
func (p redisPair) watched(ctx context.Context, client *redis.SentinelClient) error {
	master, err := client.Master(ctx, masterName).Result()
	if err != nil {
		return err
	}
	if master["port"] != portText(p.master) || master["flags"] != "master" {
		return fmt.Errorf("the master is %s, %s", master["port"], master["flags"])
	}
	if fellows := master["num-other-sentinels"]; fellows != strconv.Itoa(sentinels-1) {
		return fmt.Errorf("it knows %s others", fellows)
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
	return fmt.Errorf("no replica %s that follows: %v", portText(p.replica), replicas)
}
