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

// In a fail-over the replica takes over, and the old master returns as its replica.
func TestRedisFailover(t *testing.T) {
	t.Parallel()
	master := devtest.OwnRedis(t, devstack.RedisConfig{Password: "p@ss/word"})
	client := redisClient(t, master)
	set := func(client *redis.Client, value string) error { return client.Set(t.Context(), "k", value, 0).Err() }
	must(t, set(client, "first"))
	replica := devtest.OwnReplica(t, master)
	follower := redisClient(t, replica)
	if value, err := follower.Get(t.Context(), "k").Result(); err != nil || value != "first" {
		t.Errorf("GET at the replica: got %q, %v; want \"first\"", value, err)
	}
	if err := set(follower, "x"); !redis.IsReadOnlyError(err) {
		t.Errorf("SET at a replica: got error %v, want READONLY", err)
	}
	must(t, replica.Promote(t.Context()))
	if err := errors.Join(set(follower, "second"), set(client, "split brain")); err != nil {
		t.Error(err)
	}
	must(t, master.Follow(t.Context(), replica))
	if err := set(client, "x"); !redis.IsReadOnlyError(err) {
		t.Errorf("SET at the old master after Follow: got error %v, want READONLY", err)
	}
	must(t, master.Kill(), master.Kill(), replica.Stop(), replica.Start(t.Context()))
	if err := set(follower, "third"); err != nil {
		t.Errorf("SET at the promoted server after a restart: %v", err)
	}
	must(t, master.Start(t.Context()))
	devtest.Eventually(t, within, "old master has the data of the new one", func() error {
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
		t.Errorf("got maxmemory %v, %v; want 10485760", set, err)
	}
	opts, err := redis.ParseURL(r.URL())
	must(t, err)
	opts.Username, opts.Password = "app", "secret"
	client := redis.NewClient(opts)
	defer client.Close()
	if err := client.Set(t.Context(), "app:k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
	for _, err := range []error{client.Set(t.Context(), "k", "v", 0).Err(), client.Get(t.Context(), "app:k").Err()} {
		if !redis.IsPermissionError(err) {
			t.Errorf("got error %v, want NOPERM", err)
		}
	}
}

func TestRedisTLS(t *testing.T) {
	t.Parallel()
	files := devtest.TLS(t)
	master := devtest.OwnRedis(t, devstack.RedisConfig{TLS: files, Password: "secret", Args: []string{"--tls-auth-clients", "yes"}})
	replica := devtest.OwnReplica(t, master)
	pem, err := os.ReadFile(files.CA)
	must(t, err)
	own, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	must(t, err)
	for _, r := range []*devstack.Redis{master, replica} {
		opts, err := redis.ParseURL(r.URL())
		must(t, err)
		opts.TLSConfig.RootCAs = x509.NewCertPool()
		opts.TLSConfig.RootCAs.AppendCertsFromPEM(pem)
		withoutCert := *opts
		withoutCert.TLSConfig = opts.TLSConfig.Clone()
		opts.TLSConfig.Certificates = []tls.Certificate{own}
		for opts, rejected := range map[*redis.Options]bool{opts: false, &withoutCert: true} {
			client := redis.NewClient(opts)
			if err := client.Ping(t.Context()).Err(); (err != nil) != rejected {
				t.Errorf("PING to %s: got error %v, want an error: %t", r.URL(), err, rejected)
			}
			client.Close()
		}
	}
	if !strings.HasPrefix(master.URL(), "rediss://") {
		t.Errorf("got URL %s, want scheme rediss", master.URL())
	}
}

func TestReplicaErrors(t *testing.T) {
	t.Parallel()
	ours := devtest.OwnRedis(t)
	external, err := devstack.StartRedis(t.Context(), devstack.RedisConfig{URL: ours.URL()})
	must(t, err)
	_, err = external.Replica(t.Context())
	wantExternal(t, err, external.Promote(t.Context()), external.Follow(t.Context(), ours), ours.Follow(t.Context(), external), external.Kill())
	files := devtest.TLS(t)
	files.CA = ""
	if _, err := devtest.OwnRedis(t, devstack.RedisConfig{TLS: files}).Replica(t.Context()); err == nil {
		t.Error("Replica with TLS and without CA succeeded")
	}
	closed := devtest.OwnRedis(t)
	must(t, closed.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ours.Follow(ctx, closed); !errors.Is(err, context.Canceled) {
		t.Errorf("Follow with a canceled context: got error %v, want context.Canceled", err)
	}
	if _, err := closed.Replica(t.Context()); err == nil {
		t.Error("Replica of a closed server succeeded")
	}
}
