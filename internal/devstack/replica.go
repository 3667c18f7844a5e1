package devstack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Replica starts another server with the same configuration as a replica of r, and returns when the replica has a copy
// of r's data. The context bounds that (60 s at most). The caller must Close the replica. With TLS, TLSFiles.CA is
// required. Replica returns [ErrExternal] if r is an external server.
func (r *Redis) Replica(ctx context.Context) (replica *Redis, err error) {
	err = bounded(ctx, "start replica of redis", func(ctx context.Context) (err error) {
		replica, err = r.startReplica(ctx)
		return err
	})
	return replica, err
}

func (r *Redis) startReplica(ctx context.Context) (*Redis, error) {
	if r.proc == nil {
		return nil, ErrExternal
	}
	if r.cfg.TLS.Cert != "" && r.cfg.TLS.CA == "" {
		return nil, errors.New("TLSFiles.CA is required: a replica needs it to verify its master")
	}
	err := r.withClient(ctx, func(ctx context.Context, client *redis.Client) error { return client.Ping(ctx).Err() })
	if err != nil {
		return nil, fmt.Errorf("ping the master: %w", err)
	}
	replica := &Redis{cfg: r.cfg}
	replica.master.Store(r)
	if _, err := launchRedis(ctx, replica); err != nil {
		return nil, err
	}
	if err := replica.withClient(ctx, replica.linked); err != nil {
		return nil, errors.Join(err, replica.Close())
	}
	return replica, nil
}

// Promote makes a replica a master, with the data that it has received so far (REPLICAOF NO ONE). It does not change
// the old master; see [Redis.Follow]. Promoting a master is not an error. The context bounds the call (60 s at most).
func (r *Redis) Promote(ctx context.Context) error {
	return bounded(ctx, "promote redis", func(ctx context.Context) error { return r.replicaOf(ctx, nil, "no", "one") })
}

// Follow makes r a replica of master, which from then on refuses writes with READONLY, and returns when r has a copy of
// master's data. r discards its own data. Both servers must have the same password. After an error r may still be a
// replica that keeps trying to connect to master. The context bounds the call (60 s at most). Follow returns
// [ErrExternal] if one of the servers is external.
func (r *Redis) Follow(ctx context.Context, master *Redis) error {
	return bounded(ctx, "follow redis", func(ctx context.Context) error {
		if master.proc == nil {
			return ErrExternal
		}
		return r.replicaOf(ctx, master, "127.0.0.1", portText(master))
	})
}

func (r *Redis) replicaOf(ctx context.Context, master *Redis, host, port string) error {
	if r.proc == nil {
		return ErrExternal
	}
	return r.withClient(ctx, func(ctx context.Context, client *redis.Client) error {
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

// linked waits until a replica has copied its master's data.
func (r *Redis) linked(ctx context.Context, client *redis.Client) error {
	return await(ctx, "link to the master", func(ctx context.Context) error {
		info, err := client.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errNotYet
		}
		return err
	})
}

// withClient calls do with a new client of the server.
func (r *Redis) withClient(ctx context.Context, do func(context.Context, *redis.Client) error) error {
	return r.cfg.withClient(ctx, address(r.proc.port), do)
}

// withClient calls do with a new client of the server at addr, which must have the same password.
func (cfg RedisConfig) withClient(ctx context.Context, addr string, do func(context.Context, *redis.Client) error) error {
	security, err := cfg.tlsConfig()
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: addr, Password: cfg.Password, TLSConfig: security, MaxRetries: -1})
	defer client.Close()
	return do(ctx, client)
}
