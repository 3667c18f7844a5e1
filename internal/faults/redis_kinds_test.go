package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

func testRedisDown(t *testing.T) {
	redisFault{fault: "Redis: stopped or killed, empty after its restart", n: times(1, 6),
		inject: func(s *scenario, server *devstack.Redis, i int) { s.stopOrKill(server, i) },
		heal:   func(s *scenario, server *devstack.Redis, _ int) { s.must(server.Start(s.t.Context())) },
	}.run(t)
}

// stopOrKill kills the server, or shuts it down cleanly, in turn.
func (s *scenario) stopOrKill(server *devstack.Redis, i int) {
	s.t.Helper()
	if i%2 == 0 {
		s.must(server.Kill())
	} else {
		s.must(server.Stop())
	}
}

// testRedisLoading restarts a Redis that writes every command to disk before it replies, so that deleted keys stay
// deleted. A debug setting makes it load its file slowly, with enough keys that it replies LOADING meanwhile.
func testRedisLoading(t *testing.T) {
	const filler = 10_000
	redisFault{fault: "Redis: stopped or killed, restarted with its data (appendfsync always), LOADING for a while", n: times(1, 3),
		config: devstack.RedisConfig{Args: []string{"--appendonly", "yes", "--appendfsync", "always", "--key-load-delay", "100"}},
		prepare: func(s *scenario, _ *devstack.Redis) {
			pipe := s.rdb.Pipeline()
			for i := range filler {
				pipe.Set(s.t.Context(), fmt.Sprint("filler:", i), "x", 0)
			}
			_, err := pipe.Exec(s.t.Context())
			s.must(err)
		},
		inject: func(s *scenario, server *devstack.Redis, i int) { s.stopOrKill(server, i) },
		heal: func(s *scenario, server *devstack.Redis, _ int) {
			started := make(chan error, 1)
			go func() { started <- server.Start(s.t.Context()) }()
			s.awaitRefusal("LOADING", "GET", "filler:0")
			s.must(<-started)
			s.eventually(60*time.Second, "data loaded", func(ctx context.Context) error { return s.rdb.Get(ctx, "filler:0").Err() })
		},
	}.run(t)
}

// awaitRefusal waits until Redis replies to a command with an error code. It uses a client without retries.
func (s *scenario) awaitRefusal(code string, command ...any) {
	s.t.Helper()
	o := s.rdb.Options()
	once := redis.NewClient(&redis.Options{Addr: o.Addr, Username: o.Username, Password: o.Password, MaxRetries: -1})
	defer once.Close() //nolint:errcheck // the client is no longer needed
	s.eventually(60*time.Second, "Redis replies "+code, func(ctx context.Context) error {
		if err := once.Do(ctx, command...).Err(); err == nil || !strings.HasPrefix(err.Error(), code) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}

// testRedisReadOnly fails over to a replica and back, in a way that loses no UNLINK. Meanwhile the address that the
// invalidator uses is that of a replica.
func testRedisReadOnly(t *testing.T) {
	var other *redis.Client
	redisFault{fault: "Redis: the master becomes a replica (fail-over, READONLY) and is promoted again", n: times(1, 6),
		prepare: func(s *scenario, server *devstack.Redis) {
			replica := devtest.OwnReplica(s.t, server)
			options, err := redis.ParseURL(replica.URL())
			s.must(err)
			other = redis.NewClient(options)
			s.t.Cleanup(func() { _ = other.Close() })
		},
		inject: func(s *scenario, _ *devstack.Redis, _ int) {
			s.failOver(s.rdb, other)
			s.awaitRefusal("READONLY", "SET", "k", "v")
		},
		heal: func(s *scenario, _ *devstack.Redis, _ int) { s.failOver(other, s.rdb) },
	}.run(t)
}

// failOver exchanges master and replica after the replica has received all writes.
func (s *scenario) failOver(master, replica *redis.Client) {
	s.t.Helper()
	is := func(c *redis.Client, role string) func(context.Context) error {
		return func(ctx context.Context) error {
			info, err := c.Info(ctx, "replication").Result()
			if err == nil && (!strings.Contains(info, "role:"+role) || role == "slave" && !strings.Contains(info, "master_link_status:up")) {
				err = errors.New(info)
			}
			return err
		}
	}
	s.eventually(60*time.Second, "FAILOVER accepted", func(ctx context.Context) error { return master.Do(ctx, "FAILOVER").Err() })
	s.eventually(60*time.Second, "replica promoted", is(replica, "master"))
	s.eventually(60*time.Second, "master demoted", is(master, "slave"))
}

// testRedisReplies drops the replies of Redis to commands that it has executed, or cuts off Redis completely.
func testRedisReplies(t *testing.T) {
	var proxy *faultnet.Proxy
	dropped := 0
	redisFault{fault: "Redis: replies lost after UNLINK was executed, connections stalled, connections refused", n: times(2, 6),
		prepare: func(s *scenario, _ *devstack.Redis) {
			proxy, s.redURL = devtest.Proxy(s.t, s.redURL)
			s.redURL += "?read_timeout=300ms&dial_timeout=300ms"
		},
		inject: func(_ *scenario, _ *devstack.Redis, i int) {
			switch i % 3 {
			case 0:
				dropped = proxy.Dropped(faultnet.ToClient)
				proxy.Drop(faultnet.ToClient)
			case 1:
				proxy.Stall(faultnet.ToServer)
			case 2:
				proxy.Refuse()
			}
		},
		heal: func(s *scenario, _ *devstack.Redis, i int) {
			if i%3 == 0 && proxy.Dropped(faultnet.ToClient) == dropped {
				s.t.Error("Dropped() did not grow, want lost replies")
			}
			proxy.Heal()
			proxy.Cut()
		},
	}.run(t)
}

// testRedisPermissions changes the password and the permissions of the default user, which only the invalidator uses.
func testRedisPermissions(t *testing.T) {
	setPassword := func(s *scenario, password string) {
		s.must(s.rdb.ConfigSet(s.t.Context(), "requirepass", password).Err())
		s.must(s.rdb.Do(s.t.Context(), "CLIENT", "KILL", "USER", "default").Err()) // open connections would stay authenticated
	}
	setRule := func(s *scenario, rule string) {
		s.must(s.rdb.Do(s.t.Context(), "ACL", "SETUSER", "default", rule).Err())
	}
	redisFault{fault: "Redis: password changed (WRONGPASS), permission to UNLINK revoked (NOPERM), and granted again", n: times(2, 6),
		config: devstack.RedisConfig{Password: "first", Args: []string{"--user", "other", "on", ">other", "~*", "&*", "+@all"}},
		prepare: func(s *scenario, server *devstack.Redis) {
			options, err := redis.ParseURL(server.URL())
			s.must(err)
			options.Username, options.Password = "other", "other"
			s.must(s.rdb.Close())
			s.rdb = redis.NewClient(options)
		},
		inject: func(s *scenario, _ *devstack.Redis, i int) {
			if i%2 == 0 {
				setPassword(s, "second")
			} else {
				setRule(s, "-unlink")
			}
		},
		heal: func(s *scenario, _ *devstack.Redis, i int) {
			if i%2 == 0 {
				setPassword(s, "first")
			} else {
				setRule(s, "+unlink")
			}
		},
	}.run(t)
}

// testRedisFull requires that the invalidator does not pause when Redis is out of memory, which rejects SET and still
// executes UNLINK.
func testRedisFull(t *testing.T) {
	server := devtest.OwnRedis(t)
	runScenario(t, "Redis: out of memory (noeviction): SET is rejected, UNLINK still works", options{}, func(s *scenario) {
		s.useRedis(server)
		p := s.startInvalidator("")
		s.startRelay("relay", "")
		l := s.startLoad(6, 3*time.Millisecond, false)
		limit := func(most string) { s.must(s.rdb.ConfigSet(t.Context(), "maxmemory", most).Err()) }
		for range times(2, 6) {
			key := s.prefix + uuid.NewString()
			s.must(s.rdb.Set(t.Context(), key, "old", time.Hour).Err())
			limit("1")
			s.awaitRefusal("OOM", "SET", "k", "v")
			began := time.Now()
			s.insertFor(key)
			s.awaitDeleted(key, began)
			limit("0")
			s.row.faults++
		}
		l.stop()
		s.verify()
		s.checkNoDeadLetters()
		if strings.Contains(p.log.String(), "Redis commands fail") {
			t.Error("the invalidator reported Redis as unavailable, want no pause")
		}
	})
}
