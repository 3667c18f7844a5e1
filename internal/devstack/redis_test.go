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
	if err != nil {
		t.Fatal(err)
	}
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
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	client := redisClient(t, r)
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a stopped server may be stopped again
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Fatal("stopped, and still answers")
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("want an empty server, got %v", err)
	}
	if err := r.Start(t.Context()); err == nil {
		t.Error("started a running server again")
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

// Another program took the port while the server was down.
func TestStartOnTakenPort(t *testing.T) {
	t.Parallel()
	r, n := devtest.OwnRedis(t), devtest.OwnNATS(t)
	if err := errors.Join(r.Stop(), n.Stop()); err != nil {
		t.Fatal(err)
	}
	for url, start := range map[string]func() error{
		r.URL(): func() error { return r.Start(t.Context()) },
		n.URL(): n.Start,
	} {
		_, addr, _ := strings.Cut(url, "://")
		var listener net.Listener
		devtest.Eventually(t, within, "a free port", func() error { // a child, until it runs its program, has NATS's too
			var err error
			listener, err = net.Listen("tcp", strings.TrimSuffix(addr, "/0"))
			return err
		})
		go func() { // refuses all, until the listener is closed
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
		if err := start(); err == nil || !strings.Contains(strings.ToLower(err.Error()), "address already in use") {
			t.Errorf("error does not hold the server's own: %v", err)
		}
		listener.Close()
		if err := start(); err != nil {
			t.Error(err)
		}
	}
}

func TestRedisGiven(t *testing.T) {
	t.Parallel()
	ours := devtest.OwnRedis(t)
	given, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{URL: ours.URL()})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{given.Stop(), given.Start(t.Context())} {
		if !errors.Is(err, devstack.ErrNotOurs) {
			t.Errorf("want ErrNotOurs, got %v", err)
		}
	}
	if err := given.Close(); err != nil {
		t.Error(err)
	}
	pingRedis(t, ours)
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{URL: ours.URL()}); err == nil {
		t.Error("took a server that does not answer")
	}
}
