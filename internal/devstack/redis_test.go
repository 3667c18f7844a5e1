package devstack_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func redisClient(t *testing.T, r *devstack.Redis) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(r.URL())
	must(t, err)
	opts.MaxRetries = -1
	client := redis.NewClient(opts)
	t.Cleanup(func() { client.Close() })
	return client
}

func pingRedis(t *testing.T, r *devstack.Redis) {
	t.Helper()
	if err := redisClient(t, r).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

func TestRedisStopsAndStartsAgain(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	r, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{Dir: parent})
	must(t, err)
	defer r.Close()
	client := redisClient(t, r)
	must(t, client.Set(t.Context(), "k", "v", 0).Err())
	for range 2 { // stopping a stopped server is not an error
		must(t, r.Stop())
	}
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Fatal("PING to a stopped server succeeded")
	}
	must(t, r.Start(t.Context()))
	if err := client.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("GET after a restart: got error %v, want an empty server", err)
	}
	if err := r.Start(t.Context()); err == nil {
		t.Error("Start of a running server succeeded")
	}
	wantClosed(t, parent, r)
}

// Start fails, with the server's own message, if another program took the port while the server was stopped.
func TestStartOnTakenPort(t *testing.T) {
	t.Parallel()
	r, n := devtest.OwnRedis(t), devtest.OwnNATS(t)
	must(t, r.Stop(), n.Stop())
	for url, start := range map[string]func() error{
		r.URL(): func() error { return r.Start(t.Context()) },
		n.URL(): n.Start,
	} {
		_, addr, _ := strings.Cut(url, "://")
		var listener net.Listener
		devtest.Eventually(t, within, "a free port", func() error { // a forked child of this process holds the port until it executes its program
			var err error
			listener, err = net.Listen("tcp", strings.TrimSuffix(addr, "/0"))
			return err
		})
		go func() { // closes every connection, until the listener is closed
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
		if err := start(); err == nil || !strings.Contains(strings.ToLower(err.Error()), "address already in use") {
			t.Errorf("got error %v, want the server's own \"address already in use\"", err)
		}
		listener.Close()
		if err := start(); err != nil {
			t.Error(err)
		}
	}
}

func TestRedisExternal(t *testing.T) {
	t.Parallel()
	ours := devtest.OwnRedis(t)
	external, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{URL: ours.URL()})
	must(t, err)
	wantExternal(t, external.Stop(), external.Start(t.Context()))
	must(t, external.Close())
	pingRedis(t, ours)
	must(t, ours.Close())
	if _, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{URL: ours.URL()}); err == nil {
		t.Error("StartRedis with the URL of a closed server succeeded")
	}
}
