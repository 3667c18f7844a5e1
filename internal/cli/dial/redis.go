package dial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
)

// Redis returns a client that connects when it is used. change may alter its options. log receives what the library
// reports, from this client and, since the library has one logger, from every other client of the process.
func Redis(s *setting.Set, log *slog.Logger, change ...func(*redis.UniversalOptions)) (redis.UniversalClient, error) {
	options, err := parseRedis(s.Text("redis_url"))
	if err != nil {
		return nil, badURL(s, "redis_url", redisURL)
	}
	if err := secureRedis(s, options); err != nil {
		return nil, err
	}
	for _, alter := range change {
		alter(options)
	}
	LogRedis(log)
	if options.IsClusterMode {
		cluster := options.Cluster()
		cluster.ClusterStateReloadInterval = clusterReload
		return redis.NewClusterClient(cluster), nil
	}
	return redis.NewUniversalClient(options), nil
}

// Ping waits until Redis answers, for as long as the setting wait allows.
func Ping(ctx context.Context, s *setting.Set, rdb redis.UniversalClient) error {
	return Await(ctx, s, exit.Redis, func() error {
		if err := rdb.Ping(ctx).Err(); err != nil {
			return exit.Unreached(exit.Redis, err)
		}
		return nil
	})
}

// OneDial makes a client dial once for each attempt, for a command that reports whether Redis answers. The library's
// default is five times.
func OneDial(o *redis.UniversalOptions) { o.DialerRetries = 1 }

// clusterReload bounds the age of the client's map of a cluster. The death of a master does not make the client reload
// it, so until then it keeps sending to the dead one: for a minute with the library's default.
const clusterReload = time.Second

// secureRedis applies the settings beside the URL, which win over it.
func secureRedis(s *setting.Set, o *redis.UniversalOptions) error {
	password, err := s.Secret("redis_password_file")
	if err != nil {
		return err
	}
	if password != "" {
		o.Password = password
	}
	if user := s.Text("redis_user"); user != "" {
		o.Username = user
	}
	files, err := tlsFiles(s, "redis")
	if err != nil {
		return err
	}
	if files != nil {
		o.TLSConfig = files
	}
	if !s.On("insecure") {
		keepLocal(o)
	}
	return allow(s, "redis_url", redisPeers(o))
}

// parseRedis parses the URL of any kind of Redis:
//
//	redis://[user:password@]host[:6379][/db][?options]         one server; rediss for TLS
//	redis-cluster://[user:password@]h1:p,h2:p[?options]        a cluster, by any of its nodes; rediss-cluster for TLS
//	redis-sentinel://[user:password@]h1:p,h2:p/master[/db]     a master, by its sentinels; rediss-sentinel for TLS
//
// User, password, TLS and options (go-redis documents them at ParseURL) are for the servers. Sentinels are queried without a
// password.
func parseRedis(text string) (*redis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errors.New("missing scheme")
	}
	scheme, kind, _ := strings.Cut(scheme, "-")
	rest, query, _ := strings.Cut(rest, "?")
	user := ""
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user, rest = rest[:i+1], rest[i+1:]
	}
	hosts, path, _ := strings.Cut(rest, "/")
	addresses, master := setting.Split(hosts), ""
	switch kind {
	case "":
	case "cluster":
		path = ""
	case "sentinel":
		master, path, _ = strings.Cut(path, "/")
		if master == "" {
			return nil, errors.New("missing name of the master")
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
		o.TLSConfig.ServerName = "" // the client sets that of each host it connects to
	}
	return &redis.UniversalOptions{
		Addrs: addresses, IsClusterMode: kind == "cluster", MasterName: master,
		Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLSConfig, Protocol: o.Protocol,
		ClientName: o.ClientName, MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff, MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, ContextTimeoutEnabled: true,
		PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MinIdleConns: o.MinIdleConns,
		// Neither is needed, and without them the user needs fewer rights.
		DisableIdentity: true, MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		MaxIdleConns: o.MaxIdleConns, MaxActiveConns: o.MaxActiveConns, ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime,
	}, nil
}

// LogRedis makes go-redis report to log, at the debug level, what it retries. The library has one logger for the
// process.
func LogRedis(log *slog.Logger) { redis.SetLogger(redisLogger{log}) }

type redisLogger struct{ log *slog.Logger }

func (l redisLogger) Printf(_ context.Context, format string, args ...any) {
	l.log.Debug("redis client reported an error", "err", redact.Text(fmt.Sprintf(format, args...)))
}
