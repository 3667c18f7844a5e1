package devstack

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Replica starts another server, with the same configuration, that follows r, and
// returns when it holds what r held. The context bounds that (60 s at most). The
// caller must Close it. With TLS it needs TLSFiles.CA. It returns [ErrNotOurs] if r
// was given by URL.
func (r *Redis) Replica(ctx context.Context) (*Redis, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	replica, err := r.startReplica(ctx)
	if err != nil {
		return nil, fmt.Errorf("start replica of redis: %w", err)
	}
	return replica, nil
}

func (r *Redis) startReplica(ctx context.Context) (*Redis, error) {
	if r.proc == nil {
		return nil, ErrNotOurs
	}
	if r.cfg.TLS.Cert != "" && r.cfg.TLS.CA == "" {
		return nil, errors.New("a replica cannot verify its master without TLSFiles.CA")
	}
	err := r.ask(ctx, func(ctx context.Context, client *redis.Client) error { return client.Ping(ctx).Err() })
	if err != nil {
		return nil, fmt.Errorf("the master: %w", err)
	}
	replica := &Redis{cfg: r.cfg}
	replica.master.Store(r)
	if _, err := launchRedis(ctx, replica); err != nil {
		return nil, err
	}
	if err := replica.ask(ctx, replica.linked); err != nil {
		return nil, errors.Join(err, replica.Close())
	}
	return replica, nil
}

// Promote makes a replica a master, with what it has received so far (REPLICAOF NO
// ONE). The old master is left as it is: see [Redis.Follow]. It is no error if it is
// a master already. The context bounds it (60 s at most).
func (r *Redis) Promote(ctx context.Context) error {
	if err := r.replicaOf(ctx, nil, "no", "one"); err != nil {
		return fmt.Errorf("promote redis: %w", err)
	}
	return nil
}

// Follow makes r a replica of master, so that it refuses writes with READONLY from
// now on, and returns when it holds what master holds; what it held itself is lost.
// Their passwords must be the same. After an error it may follow all the same, and
// tries on. The context bounds it (60 s at most). It returns [ErrNotOurs] if one of
// them was given by URL.
func (r *Redis) Follow(ctx context.Context, master *Redis) error {
	err := ErrNotOurs
	if master.proc != nil {
		err = r.replicaOf(ctx, master, "127.0.0.1", strconv.Itoa(master.proc.port))
	}
	if err != nil {
		return fmt.Errorf("follow redis: %w", err)
	}
	return nil
}

func (r *Redis) replicaOf(ctx context.Context, master *Redis, host, port string) error {
	if r.proc == nil {
		return ErrNotOurs
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return r.ask(ctx, func(ctx context.Context, client *redis.Client) error {
		if err := client.ReplicaOf(ctx, host, port).Err(); err != nil {
			return err
		}
		r.master.Store(master)
		if master == nil {
			return nil
		}
		return r.linked(ctx, client)
	})
}

// linked waits until a replica has taken over what its master held.
func (r *Redis) linked(ctx context.Context, client *redis.Client) error {
	return await(ctx, "link to the master", func(ctx context.Context) error {
		info, err := client.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errNotYet
		}
		return err
	})
}

// ask does something with a client of its own.
func (r *Redis) ask(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	return r.cfg.ask(ctx, address(r.proc.port), do)
}

// ask does something with a client of its own for a server with the same password.
func (cfg RedisConfig) ask(ctx context.Context, addr string, do func(context.Context, *redis.Client) error) error {
	security, err := cfg.tlsConfig()
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: addr, Password: cfg.Password, TLSConfig: security, MaxRetries: -1})
	defer client.Close()
	return do(ctx, client)
}
