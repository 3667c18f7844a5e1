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
	redisFault{fault: "Redis: stopped or killed, empty when it is back", n: times(1, 6),
		breaks: func(s *scene, server *devstack.Redis, i int) { s.end(server, i) },
		heal:   func(s *scene, server *devstack.Redis, _ int) { s.must(server.Start(s.t.Context())) },
	}.run(t)
}

func (s *scene) end(server *devstack.Redis, i int) {
	s.t.Helper()
	if i%2 == 0 {
		s.must(server.Kill())
	} else {
		s.must(server.Stop())
	}
}

// Every command is on disk before its reply, so what was deleted stays deleted. Redis reads its file slowly (a setting for
// its own tests), with enough in it that it answers LOADING in between.
func testRedisLoading(t *testing.T) {
	const filler = 10_000
	redisFault{fault: "Redis: stopped or killed, back with its data (appendfsync always) after a while of LOADING", n: times(1, 3),
		config: devstack.RedisConfig{Args: []string{"--appendonly", "yes", "--appendfsync", "always", "--key-load-delay", "100"}},
		prepare: func(s *scene, _ *devstack.Redis) {
			pipe := s.rdb.Pipeline()
			for i := range filler {
				pipe.Set(s.t.Context(), fmt.Sprint("filler:", i), "x", 0)
			}
			_, err := pipe.Exec(s.t.Context())
			s.must(err)
		},
		breaks: func(s *scene, server *devstack.Redis, i int) { s.end(server, i) },
		heal: func(s *scene, server *devstack.Redis, _ int) {
			started := make(chan error, 1)
			go func() { started <- server.Start(s.t.Context()) }()
			s.refuses("LOADING", "GET", "filler:0")
			s.must(<-started)
			s.eventually(60*time.Second, "the data is there", func(ctx context.Context) error { return s.rdb.Get(ctx, "filler:0").Err() })
		},
	}.run(t)
}

// refuses waits until Redis answers a command with this error, on a connection that does not try again by itself.
func (s *scene) refuses(code string, command ...any) {
	s.t.Helper()
	o := s.rdb.Options()
	once := redis.NewClient(&redis.Options{Addr: o.Addr, Username: o.Username, Password: o.Password, MaxRetries: -1})
	defer once.Close() //nolint:errcheck // it has done its work
	s.eventually(60*time.Second, "Redis says "+code, func(ctx context.Context) error {
		if err := once.Do(ctx, command...).Err(); err == nil || !strings.HasPrefix(err.Error(), code) {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
}

// A fail-over in order, there and back, so that no UNLINK is lost on the way; in between the address that the invalidator
// knows is that of a replica.
func testRedisReadOnly(t *testing.T) {
	var other *redis.Client
	redisFault{fault: "Redis: the master becomes a replica (fail-over), READONLY, and is promoted again", n: times(1, 6),
		prepare: func(s *scene, server *devstack.Redis) {
			replica := devtest.OwnReplica(s.t, server)
			options, err := redis.ParseURL(replica.URL())
			s.must(err)
			other = redis.NewClient(options)
			s.t.Cleanup(func() { _ = other.Close() })
		},
		breaks: func(s *scene, _ *devstack.Redis, _ int) {
			s.failOver(s.rdb, other)
			s.refuses("READONLY", "SET", "k", "v")
		},
		heal: func(s *scene, _ *devstack.Redis, _ int) { s.failOver(other, s.rdb) },
	}.run(t)
}

// failOver makes the replica the master, and the master its replica, when both hold the same.
func (s *scene) failOver(master, replica *redis.Client) {
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
	s.eventually(60*time.Second, "fail over", func(ctx context.Context) error { return master.Do(ctx, "FAILOVER").Err() })
	s.eventually(60*time.Second, "the replica is master", is(replica, "master"))
	s.eventually(60*time.Second, "the master is replica", is(master, "slave"))
}

// What goes to Redis arrives and is done, the reply does not come; or nothing gets through at all.
func testRedisReplies(t *testing.T) {
	var proxy *faultnet.Proxy
	dropped := 0
	redisFault{fault: "Redis: replies lost after UNLINK was done, frozen connections, refused ones", n: times(2, 6),
		prepare: func(s *scene, _ *devstack.Redis) {
			proxy, s.redURL = s.proxy(s.redURL)
			s.redURL += "?read_timeout=300ms&dial_timeout=300ms"
		},
		breaks: func(_ *scene, _ *devstack.Redis, i int) {
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
		heal: func(s *scene, _ *devstack.Redis, i int) {
			if i%3 == 0 && proxy.Dropped(faultnet.ToClient) == dropped {
				s.t.Error("no reply was lost")
			}
			proxy.Heal()
			proxy.Cut()
		},
	}.run(t)
}

// The invalidator is the default user, everything else here is not.
func testRedisRights(t *testing.T) {
	secret := func(s *scene, password string) {
		s.must(s.rdb.ConfigSet(s.t.Context(), "requirepass", password).Err())
		s.must(s.rdb.Do(s.t.Context(), "CLIENT", "KILL", "USER", "default").Err()) // a connection in use stays valid otherwise
	}
	right := func(s *scene, rule string) { s.must(s.rdb.Do(s.t.Context(), "ACL", "SETUSER", "default", rule).Err()) }
	redisFault{fault: "Redis: password changed (WRONGPASS), right to UNLINK taken away (NOPERM), and given back", n: times(2, 6),
		config: devstack.RedisConfig{Password: "first", Args: []string{"--user", "other", "on", ">other", "~*", "&*", "+@all"}},
		prepare: func(s *scene, server *devstack.Redis) {
			options, err := redis.ParseURL(server.URL())
			s.must(err)
			options.Username, options.Password = "other", "other"
			s.must(s.rdb.Close())
			s.rdb = redis.NewClient(options)
		},
		breaks: func(s *scene, _ *devstack.Redis, i int) {
			if i%2 == 0 {
				secret(s, "second")
			} else {
				right(s, "-unlink")
			}
		},
		heal: func(s *scene, _ *devstack.Redis, i int) {
			if i%2 == 0 {
				secret(s, "first")
			} else {
				right(s, "+unlink")
			}
		},
	}.run(t)
}

// A Redis that is full refuses to store, but deletes: nothing pauses.
func testRedisFull(t *testing.T) {
	server := devtest.OwnRedis(t)
	scenario(t, "Redis: out of memory (noeviction): SET is refused, UNLINK goes on", options{}, func(s *scene) {
		s.cacheIn(server)
		p := s.invalidator("")
		s.relay("relay", "")
		l := s.write(6, 3*time.Millisecond, false)
		limit := func(most string) { s.must(s.rdb.ConfigSet(t.Context(), "maxmemory", most).Err()) }
		for range times(2, 6) {
			key := s.prefix + uuid.NewString()
			s.must(s.rdb.Set(t.Context(), key, "old", time.Hour).Err())
			limit("1")
			s.refuses("OOM", "SET", "k", "v")
			began := time.Now()
			s.tell(key)
			s.vanishes(key, began)
			limit("0")
			s.row.faults++
		}
		l.stop()
		s.judge()
		s.nothingDead()
		if strings.Contains(p.log.String(), "Redis commands fail") {
			t.Error("the invalidator paused")
		}
	})
}
