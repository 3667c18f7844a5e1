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

// Redis is a Redis server that keeps nothing on disk: it is empty after each
// start. Its methods are safe for concurrent use.
type Redis struct {
	url    string
	proc   *process // nil if the server was given
	cfg    RedisConfig
	group  redisGroup
	master atomic.Pointer[Redis] // whom it follows, from the next start at the latest; nil: none
}

// redisGroup is what a server needs as a member of a cluster, or of what sentinels
// watch. It is no business of the replicas that [Redis.Replica] starts.
type redisGroup struct {
	bus  bool   // a node of a cluster, which needs a second port
	conf string // what its file of settings says at first; "": it has none
}

// StartRedis starts a server and returns when it answers, or checks that the one
// given by URL does. The context bounds the start (60 s at most), not the life of
// the server. The caller must Close it. It returns [ErrMissing] if redis-server is
// not installed.
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
		return nil, fmt.Errorf("the given URL: %w", err)
	}
	client := redis.NewClient(opts)
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, err
	}
	say(cfg.Log, "redis: using the given server %s", opts.Addr)
	return &Redis{url: cfg.URL}, nil
}

func startRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	if err := cfg.TLS.check(); err != nil {
		return nil, err
	}
	return launchRedis(ctx, &Redis{cfg: cfg})
}

// launchRedis starts a server in a folder of its own. Nothing is left if it returns
// an error.
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
	say(r.cfg.Log, "redis: using %s, %s", program, address(r.proc.port))
	return r, nil
}

// writeConf writes the file of settings, once: from then on it is the server's, which
// notes there what sentinels order.
func (r *Redis) writeConf(dir string) error {
	if r.group.conf == "" {
		return nil
	}
	return os.WriteFile(confFile(dir), []byte(r.group.conf), 0o600)
}

func confFile(dir string) string { return filepath.Join(dir, "redis.conf") }

// groupArgv returns the beginning of the command line.
func (r *Redis) groupArgv(dir string) []string {
	var argv []string
	if r.group.conf != "" {
		argv = append(argv, confFile(dir))
	}
	argv = append(argv, "--dir", dir)
	if r.group.bus {
		argv = append(argv, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(r.proc.others[0]),
			"--cluster-node-timeout", strconv.FormatInt(nodeTimeout.Milliseconds(), 10),
			"--cluster-replica-validity-factor", "0", // however old, a replica may take over
			"--repl-ping-replica-period", "1") // a replica that has been sent nothing yet does not count
	}
	return argv
}

// URL returns redis://127.0.0.1:port/0, with the password of the default user if it
// has one and rediss if there is TLS, or the URL given.
func (r *Redis) URL() string { return r.url }

// Stop stops the server in order and returns when it is gone; what it held is lost,
// apart from what replicas hold. It is no error if it is already stopped.
func (r *Redis) Stop() error { return r.stop("stop", syscall.SIGTERM) }

// Kill ends the server by SIGKILL and returns when it is gone; what it had not sent
// to its replicas is lost. It is no error if it is already stopped.
func (r *Redis) Kill() error { return r.stop("kill", syscall.SIGKILL) }

func (r *Redis) stop(verb string, signal syscall.Signal) error {
	err := ErrNotOurs
	if r.proc != nil {
		err = r.proc.stop(signal)
	}
	if err != nil {
		return fmt.Errorf("%s redis: %w", verb, err)
	}
	return nil
}

// Start starts the server again after Stop or Kill, empty, on the same port, as the
// master or the replica that it was. The context bounds the start (60 s at most).
func (r *Redis) Start(ctx context.Context) error {
	err := ErrNotOurs
	if r.proc != nil {
		err = r.proc.start(ctx)
	}
	if err != nil {
		return fmt.Errorf("start redis: %w", err)
	}
	return nil
}

// Close stops the server and removes its folder. It is idempotent, and leaves
// alone a server that was given.
func (r *Redis) Close() error {
	if r.proc == nil {
		return nil
	}
	if err := r.proc.close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}
