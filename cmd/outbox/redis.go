package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// openRedis returns a client that has not connected yet. Its logger is the library's only one: this program has
// no other use of the library that it could disturb.
func openRedis(s settings, log *slog.Logger, but ...func(*redis.UniversalOptions)) (redis.UniversalClient, error) {
	options, err := parseRedis(s.text("redis_url"))
	if err != nil {
		return nil, badURL(s, "redis_url", redisURL)
	}
	if err := s.secureRedis(options); err != nil {
		return nil, err
	}
	for _, change := range but {
		change(options)
	}
	redis.SetLogger(redisLogger{log})
	if options.IsClusterMode {
		cluster := options.Cluster()
		cluster.ClusterStateReloadInterval = clusterReload
		return redis.NewClusterClient(cluster), nil
	}
	return redis.NewUniversalClient(options), nil
}

// oneDial is for a question whose answer may be that Redis is away: the library's default dials five times for each of its tries.
func oneDial(o *redis.UniversalOptions) { o.DialerRetries = 1 }

// clusterReload is how old what the client knows of a cluster may be. A master that died does not make it look: until then
// it goes on asking the dead one, with the library's default for a minute.
const clusterReload = time.Second

// secureRedis fills in what the settings say beside the URL: they win over it.
func (s settings) secureRedis(o *redis.UniversalOptions) error {
	password, err := s.secret("redis_password_file")
	if err != nil {
		return err
	}
	if password != "" {
		o.Password = password
	}
	if user := s.text("redis_user"); user != "" {
		o.Username = user
	}
	files, err := s.tlsFiles("redis")
	if err != nil {
		return err
	}
	if files != nil {
		o.TLSConfig = files
	}
	if !s.on("insecure") {
		keepLocal(o)
	}
	return s.allow("redis_url", redisPeers(o))
}

// parseRedis reads one URL for every kind of Redis:
//
//	redis://[user:password@]host[:6379][/db][?options]         one server; rediss for TLS
//	redis-cluster://[user:password@]h1:p,h2:p[?options]        a cluster, by any of its nodes; rediss-cluster for TLS
//	redis-sentinel://[user:password@]h1:p,h2:p/master[/db]     a master, by its sentinels; rediss-sentinel for TLS
//
// User, password, TLS and options (go-redis lists them at ParseURL) are for the servers; sentinels are asked
// without a password.
func parseRedis(text string) (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errors.New("no scheme")
	}
	scheme, kind, _ := strings.Cut(scheme, "-")
	rest, query, _ := strings.Cut(rest, "?")
	user := ""
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user, rest = rest[:i+1], rest[i+1:]
	}
	hosts, path, _ := strings.Cut(rest, "/")
	addresses, master := split(hosts), ""
	switch kind {
	case "":
	case "cluster":
		path = ""
	case "sentinel":
		master, path, _ = strings.Cut(path, "/")
		if master == "" {
			return nil, errors.New("no name of the master")
		}
	default:
		return nil, fmt.Errorf("unknown kind %q", kind)
	}
	if len(addresses) == 0 || kind == "" && len(addresses) > 1 {
		return nil, fmt.Errorf("%d addresses", len(addresses))
	}
	o, err := redis.ParseURL(scheme + "://" + user + addresses[0] + "/" + path + "?" + query)
	if err != nil {
		return nil, err
	}
	if kind == "" {
		addresses[0] = o.Addr
	}
	if o.TLSConfig != nil {
		o.TLSConfig.ServerName = "" // that of each host connected to, and not of the first one
	}
	return &redis.UniversalOptions{
		Addrs: addresses, IsClusterMode: kind == "cluster", MasterName: master,
		Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLSConfig, Protocol: o.Protocol,
		ClientName: o.ClientName, MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff, MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, ContextTimeoutEnabled: true,
		PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MinIdleConns: o.MinIdleConns,
		// Neither is needed, and the user needs no right to them.
		DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxIdleConns: o.MaxIdleConns, MaxActiveConns: o.MaxActiveConns, ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime,
	}, nil
}

// redisLogger is where go-redis reports what it retries by itself.
type redisLogger struct{ log *slog.Logger }

func (l redisLogger) Printf(_ context.Context, format string, args ...any) {
	l.log.Debug("redis reports", "err", redact(fmt.Sprintf(format, args...)))
}
