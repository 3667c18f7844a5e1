package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sentinels is their number: two are a majority, and the quorum.
	sentinels, quorum = 3, 2
	// masterName is what the sentinels call the master.
	masterName = "mymaster"
	// downAfter is how long a server may fall silent before a sentinel takes it for
	// down. A busy machine should not seem to be.
	downAfter = time.Second
	// failoverTimeout: another attempt begins after twice that.
	failoverTimeout = 3 * time.Second
	// acquaint and converse are the milliseconds between two messages of a sentinel to
	// its fellows. Four times that a sentinel bears a master whose promotion it was not
	// told of. One that promotes looks for success, and tells, once a second.
	acquaint, converse = 100, 500
)

// RedisSentinelConfig says what to start. The zero value will do.
type RedisSentinelConfig struct {
	// Args are further words of the command line of both servers; see RedisConfig.Args.
	Args []string
	// Dir is the parent of all folders. Defaults to the temporary folder.
	Dir string
	// Log receives one line that says what was started and where. Defaults to nowhere.
	Log io.Writer
}

// RedisSentinel is a master and a replica that three sentinels watch, two of which
// must agree that the master is down. Like [Redis], a server that is stopped comes back
// empty. It keeps the part it had; the sentinels then tell it its new one within some
// seconds. Its methods are safe for concurrent use.
type RedisSentinel struct {
	servers   []*Redis   // two
	sentinels []*process // three

	mu   sync.Mutex
	pair redisPair
}

// StartRedisSentinel starts two servers and three sentinels, and returns when the
// sentinels know all of them: within a second, and 60 at most. The context bounds the
// start, not their life. The caller must Close it. It returns [ErrMissing] if
// redis-server is not installed; it must be of version 7.0 at least.
func StartRedisSentinel(ctx context.Context, cfg RedisSentinelConfig) (*RedisSentinel, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &RedisSentinel{}
	if err := s.start(ctx, cfg); err != nil {
		return nil, fmt.Errorf("start redis sentinel: %w", errors.Join(err, s.Close()))
	}
	say(cfg.Log, "redis: using %d sentinels, %s, of %s", sentinels, s.URL(), address(s.pair.master.proc.port))
	return s, nil
}

func (s *RedisSentinel) start(ctx context.Context, cfg RedisSentinelConfig) error {
	conf := "# Sentinels write here.\n"
	for range 2 {
		server := &Redis{cfg: RedisConfig{Args: cfg.Args, Dir: cfg.Dir}, group: redisGroup{conf: conf}}
		if _, err := launchRedis(ctx, server); err != nil {
			return err
		}
		s.servers = append(s.servers, server)
		conf = "replicaof 127.0.0.1 " + portText(server) + "\n"
	}
	s.pair = redisPair{master: s.servers[0], replica: s.servers[1]}
	// A sentinel hears of a replica from its master, but looks rarely.
	if err := await(ctx, "replica", s.pair.linked); err != nil {
		return err
	}
	for range sentinels {
		sentinel, err := launchSentinel(ctx, cfg.Dir, s.pair.master.proc.port)
		if err != nil {
			return err
		}
		s.sentinels = append(s.sentinels, sentinel)
	}
	if err := s.awaitAgreed(ctx); err != nil {
		return err
	}
	for _, p := range s.sentinels {
		if err := askSentinel(ctx, p, setPace(converse)); err != nil {
			return err
		}
	}
	return nil
}

// launchSentinel starts a sentinel in a folder of its own. Nothing is left if it
// returns an error.
func launchSentinel(ctx context.Context, parent string, master int) (*process, error) {
	program, err := findRedis()
	if err != nil {
		return nil, err
	}
	dir, err := newFolder(parent, "sentinel", nil)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "sentinel.conf") // the sentinel's own notes, too
	p := &process{
		name:  "sentinel",
		dir:   dir,
		abort: syscall.SIGKILL,
		argv:  func(int) []string { return []string{program, conf, "--sentinel"} },
		configure: func(port int) error {
			return os.WriteFile(conf, []byte(sentinelConf(port, master)), 0o600)
		},
		ready: RedisConfig{}.ready,
	}
	if err := p.open(); err != nil {
		return nil, err
	}
	if err := p.startAnywhere(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if err := askSentinel(ctx, p, setPace(acquaint)); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func sentinelConf(port, master int) string {
	return strings.Join([]string{
		"bind 127.0.0.1",
		fmt.Sprintf("port %d", port),
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d %d", masterName, master, quorum),
		fmt.Sprintf("sentinel down-after-milliseconds %s %d", masterName, downAfter.Milliseconds()),
		fmt.Sprintf("sentinel failover-timeout %s %d", masterName, failoverTimeout.Milliseconds()),
	}, "\n") + "\n"
}

// setPace makes a sentinel look more often than once in 1 to 10 seconds, and talk to its
// fellows every publish milliseconds, not 2000. A machine that slept for two seconds
// makes it blind for one, not thirty. During a failover it asks for news once a second,
// whatever the info-period, and promotes no replica whose news is older than five times
// the ping-period.
func setPace(publish int) func(context.Context, *redis.SentinelClient) error {
	return func(ctx context.Context, client *redis.SentinelClient) error {
		pace := redis.NewStatusCmd(ctx, "sentinel", "debug", "info-period", 200, "ping-period", 500, "ask-period", 100,
			"publish-period", publish, "tilt-period", 1000)
		if err := client.Process(ctx, pace); err != nil {
			return fmt.Errorf("set the pace of a sentinel: %w", err)
		}
		return nil
	}
}

// askSentinel does something with a client of its own.
func askSentinel(ctx context.Context, p *process, do func(context.Context, *redis.SentinelClient) error) error {
	client := redis.NewSentinelClient(&redis.Options{Addr: address(p.port), MaxRetries: -1})
	defer client.Close()
	return do(ctx, client)
}

// URL returns redis-sentinel://127.0.0.1:port,…/mymaster/0, with all sentinels.
func (s *RedisSentinel) URL() string {
	return "redis-sentinel://" + strings.Join(s.Addrs(), ",") + "/" + masterName + "/0"
}

// Addrs returns host:port of each sentinel.
func (s *RedisSentinel) Addrs() []string {
	var addrs []string
	for _, p := range s.sentinels {
		addrs = append(addrs, address(p.port))
	}
	return addrs
}

// MasterName returns what the sentinels call the master: mymaster.
func (s *RedisSentinel) MasterName() string { return masterName }

// Master returns the server that began as the master, or that took over in the last
// Failover or AwaitFailover. Use its Stop, Kill, Start, Freeze and Thaw; Close it
// through the RedisSentinel.
func (s *RedisSentinel) Master() *Redis { return s.roles().master }

// Replica returns the other server. See Master.
func (s *RedisSentinel) Replica() *Redis { return s.roles().replica }

func (s *RedisSentinel) roles() redisPair {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pair
}

// Close ends all sentinels and servers and removes their folders. It is idempotent.
func (s *RedisSentinel) Close() error {
	var errs []error
	for _, p := range s.sentinels { // first: they would mend what we close
		errs = append(errs, p.close())
	}
	errs = append(errs, closeTogether(s.servers))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close redis sentinel: %w", err)
	}
	return nil
}
