package devstack

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// RedisConfig says which Redis to start. The zero value will do.
type RedisConfig struct {
	// URL of a running server (redis://…) to use instead of starting one. The
	// other fields but Log are then ignored.
	URL string
	// Dir is the parent of the server's own folder. Defaults to the temporary folder.
	Dir string
	// Log receives one line that says what was started and where. Defaults to nowhere.
	Log io.Writer
}

// Redis is a Redis server that keeps nothing on disk: it is empty after each
// start. Its methods are safe for concurrent use.
type Redis struct {
	url  string
	proc *process // nil if the server was given
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
	program, err := findRedis()
	if err != nil {
		return nil, err
	}
	dir, err := newFolder(cfg.Dir, "redis", nil)
	if err != nil {
		return nil, err
	}
	proc := &process{
		name:  "redis",
		dir:   dir,
		abort: syscall.SIGKILL,
		argv: func(port int) []string {
			return []string{program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1",
				"--save", "", "--appendonly", "no", "--dir", dir}
		},
		ready: func(ctx context.Context, port, pid int) error {
			answered, err := serverPID(ctx, address(port))
			if err == nil && answered != pid {
				err = fmt.Errorf("port %d is taken by process %d", port, answered)
			}
			return err
		},
	}
	if err := proc.open(); err != nil {
		return nil, err
	}
	if err := proc.startAnywhere(ctx); err != nil {
		return nil, errors.Join(err, proc.close())
	}
	say(cfg.Log, "redis: using %s, %s", program, address(proc.port))
	return &Redis{url: "redis://" + address(proc.port) + "/0", proc: proc}, nil
}

// serverPID asks a Redis server for its process id: what tells our server from
// another on the same port. It speaks the protocol itself, since a client logs each
// refused connection, and a starting server refuses some.
func serverPID(ctx context.Context, addr string) (int, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, "INFO server\r\nQUIT\r\n"); err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if pid, ok := strings.CutPrefix(lines.Text(), "process_id:"); ok {
			return strconv.Atoi(pid)
		}
	}
	return 0, fmt.Errorf("INFO names no process_id: %w", cmp.Or(lines.Err(), io.EOF))
}

// URL returns redis://127.0.0.1:port/0, or the URL given.
func (r *Redis) URL() string { return r.url }

// Stop stops the server and returns when it is gone; what it held is lost. It is
// no error if it is already stopped.
func (r *Redis) Stop() error {
	err := ErrNotOurs
	if r.proc != nil {
		err = r.proc.stop(syscall.SIGTERM)
	}
	if err != nil {
		return fmt.Errorf("stop redis: %w", err)
	}
	return nil
}

// Start starts the server again after Stop, empty, on the same port. The context
// bounds the start (60 s at most).
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
