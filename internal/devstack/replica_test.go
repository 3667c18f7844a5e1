package devstack_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// A failover: the replica takes over, the old master comes back as its replica.
func TestRedisFailover(t *testing.T) {
	t.Parallel()
	master := devtest.OwnRedis(t, devstack.RedisConfig{Password: "p@ss/word"})
	client := redisClient(t, master)
	set := func(client *redis.Client, value string) error { return client.Set(t.Context(), "k", value, 0).Err() }
	if err := set(client, "first"); err != nil {
		t.Fatal(err)
	}
	replica := devtest.OwnReplica(t, master)
	follower := redisClient(t, replica)
	if value, err := follower.Get(t.Context(), "k").Result(); err != nil || value != "first" {
		t.Errorf("replica: %q, %v", value, err)
	}
	if err := set(follower, "x"); !redis.IsReadOnlyError(err) {
		t.Errorf("a replica took a write: %v", err)
	}
	if err := replica.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(set(follower, "second"), set(client, "split brain")); err != nil {
		t.Error(err)
	}
	if err := master.Follow(t.Context(), replica); err != nil {
		t.Fatal(err)
	}
	if err := set(client, "x"); !redis.IsReadOnlyError(err) {
		t.Errorf("a master that follows took a write: %v", err)
	}
	if err := errors.Join(master.Kill(), master.Kill(), replica.Stop(), replica.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := set(follower, "third"); err != nil {
		t.Errorf("what was promoted came back as a replica: %v", err)
	}
	if err := master.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	devtest.Eventually(t, within, "old master has what the new one has", func() error {
		value, err := client.Get(t.Context(), "k").Result()
		if err == nil && value != "third" {
			err = errors.New(value)
		}
		return err
	})
}

func TestRedisArgs(t *testing.T) {
	t.Parallel()
	r := devtest.OwnRedis(t, devstack.RedisConfig{
		Args: []string{"--maxmemory", "10mb", "--user", "app", "on", ">secret", "~app:*", "+set"},
	})
	if set, err := redisClient(t, r).ConfigGet(t.Context(), "maxmemory").Result(); err != nil || set["maxmemory"] != "10485760" {
		t.Errorf("maxmemory %v, %v", set, err)
	}
	opts, err := redis.ParseURL(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	opts.Username, opts.Password = "app", "secret"
	client := redis.NewClient(opts)
	defer client.Close()
	if err := client.Set(t.Context(), "app:k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
	for _, err := range []error{client.Set(t.Context(), "k", "v", 0).Err(), client.Get(t.Context(), "app:k").Err()} {
		if !redis.IsPermissionError(err) {
			t.Errorf("want NOPERM, got %v", err)
		}
	}
}

func TestRedisTLS(t *testing.T) {
	t.Parallel()
	files := devtest.TLS(t)
	master := devtest.OwnRedis(t, devstack.RedisConfig{TLS: files, Password: "secret", Args: []string{"--tls-auth-clients", "yes"}})
	replica := devtest.OwnReplica(t, master)
	pem, err := os.ReadFile(files.CA)
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*devstack.Redis{master, replica} {
		opts, err := redis.ParseURL(r.URL())
		if err != nil {
			t.Fatal(err)
		}
		opts.TLSConfig.RootCAs = x509.NewCertPool()
		opts.TLSConfig.RootCAs.AppendCertsFromPEM(pem)
		stranger := *opts
		stranger.TLSConfig = opts.TLSConfig.Clone()
		opts.TLSConfig.Certificates = []tls.Certificate{own}
		for opts, refused := range map[*redis.Options]bool{opts: false, &stranger: true} {
			client := redis.NewClient(opts)
			if err := client.Ping(t.Context()).Err(); (err != nil) != refused {
				t.Errorf("%s: refused %t: %v", r.URL(), refused, err)
			}
			client.Close()
		}
	}
	if !strings.HasPrefix(master.URL(), "rediss://") {
		t.Error(master.URL())
	}
}

func TestReplicaErrors(t *testing.T) {
	t.Parallel()
	ours := devtest.OwnRedis(t)
	given, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{URL: ours.URL()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = given.Replica(t.Context())
	for _, err := range []error{err, given.Promote(t.Context()), given.Follow(t.Context(), ours), ours.Follow(t.Context(), given), given.Kill()} {
		if !errors.Is(err, devstack.ErrNotOurs) {
			t.Errorf("want ErrNotOurs, got %v", err)
		}
	}
	files := devtest.TLS(t)
	files.CA = ""
	if _, err := devtest.OwnRedis(t, devstack.RedisConfig{TLS: files}).Replica(t.Context()); err == nil {
		t.Error("a replica without CA")
	}
	gone := devtest.OwnRedis(t)
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ours.Follow(ctx, gone); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := gone.Replica(t.Context()); err == nil {
		t.Error("a replica of nothing")
	}
}
