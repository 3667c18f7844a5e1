package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Redis is a Redis server without persistence: it is empty after each start. Its methods are safe for concurrent use.
type Redis struct {
	url    string
	proc   *process // nil for an external server
	cfg    RedisConfig
	group  redisGroup
	master atomic.Pointer[Redis] // the master that it replicates, from its next start at the latest; nil: none
}

// redisGroup holds the extra configuration of a member of a cluster or of a group that sentinels monitor. Replicas that
// [Redis.Replica] starts do not inherit it.
type redisGroup struct {
	bus  bool   // the server is a cluster node, which needs a second port
	conf string // initial content of its configuration file; "": no file
}

// StartRedis starts a server and returns when it answers. If cfg names a URL, it checks that the external server
// answers. The context bounds the start (60 s at most), not the lifetime of the server. The caller must Close the
// server. StartRedis returns [ErrMissing] if redis-server is not installed.
func StartRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	start := startRedis
	if cfg.URL != "" {
		start = useRedis
	}
	r, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start redis: %w", err)
	}
	return r, nil
}

func useRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	opts, err := redis.ParseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("URL of the external server: %w", err)
	}
	client := redis.NewClient(opts)
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	logf(cfg.Log, "redis: using the external server %s", opts.Addr)
	return &Redis{url: cfg.URL}, nil
}

func startRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	if err := cfg.TLS.check(); err != nil {
		return nil, err
	}
	return launchRedis(ctx, &Redis{cfg: cfg})
}

// launchRedis starts a server in its own folder. After an error it has stopped the server and removed the folder.
func launchRedis(ctx context.Context, r *Redis) (*Redis, error) {
	program, err := findRedis()
	if err != nil {
		return nil, err
	}
	dir, err := newFolder(r.cfg.Dir, "redis", nil)
	if err != nil {
		return nil, err
	}
	r.proc = &process{
		name:  "redis",
		dir:   dir,
		abort: syscall.SIGKILL,
		argv: func(port int) []string {
			return slices.Concat([]string{program}, r.groupArgv(dir), r.cfg.argv(port, r.master.Load()))
		},
		ready: r.cfg.ready,
	}
	if r.group.bus {
		r.proc.more = 1
	}
	if err := r.proc.open(); err != nil {
		return nil, err
	}
	err = r.writeConf(dir)
	if err == nil {
		err = r.proc.startAnywhere(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.proc.close())
	}
	r.url = r.cfg.url(r.proc.port)
	logf(r.cfg.Log, "redis: using %s, %s", program, address(r.proc.port))
	return r, nil
}

// writeConf writes the configuration file once. Later the server rewrites the file when a sentinel reconfigures it.
func (r *Redis) writeConf(dir string) error {
	if r.group.conf == "" {
		return nil
	}
	return os.WriteFile(confFile(dir), []byte(r.group.conf), 0o600)
}

func confFile(dir string) string { return filepath.Join(dir, "redis.conf") }

// groupArgv returns the first arguments of the command line.
func (r *Redis) groupArgv(dir string) []string {
	var argv []string
	if r.group.conf != "" {
		argv = append(argv, confFile(dir))
	}
	argv = append(argv, "--dir", dir)
	if r.group.bus {
		argv = append(argv, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(r.proc.others[0]),
			"--cluster-node-timeout", strconv.FormatInt(nodeTimeout.Milliseconds(), 10),
			"--cluster-replica-validity-factor", "0", // a replica may take over, no matter how old its data is
			"--repl-ping-replica-period", "1") // the cluster ignores a replica until it has received its first ping
	}
	return argv
}

// URL returns redis://127.0.0.1:port/0, with the password of the default user if there is one, and with scheme rediss
// for TLS. For an external server it returns the configured URL.
func (r *Redis) URL() string { return r.url }

// Stop shuts the server down cleanly and returns when it has exited. Its data is lost, except for the copies of its
// replicas. Stopping a stopped server is not an error.
func (r *Redis) Stop() error { return r.stop("stop", syscall.SIGTERM) }

// Kill ends the server with SIGKILL and returns when it has exited. Writes that it had not yet sent to its replicas are
// lost. Killing a stopped server is not an error.
func (r *Redis) Kill() error { return r.stop("kill", syscall.SIGKILL) }

func (r *Redis) stop(verb string, signal syscall.Signal) error {
	return control(r.proc, verb+" redis", func(p *process) error { return p.stop(signal) })
}

// Start starts the server again after Stop or Kill: empty, with the same port, and as the master or replica that it
// was. The context bounds the start (60 s at most).
func (r *Redis) Start(ctx context.Context) error {
	return control(r.proc, "start redis", func(p *process) error { return p.start(ctx) })
}

// Close stops the server and removes its folder. It is idempotent, and does nothing to an external server.
func (r *Redis) Close() error {
	if r.proc == nil {
		return nil
	}
	return control(r.proc, "close redis", (*process).close)
}
