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
	// sentinels is the number of sentinels. Two of them are a majority, and the quorum.
	sentinels, quorum = 3, 2
	// masterName is the sentinels' name for the master.
	masterName = "mymaster"
	// downAfter is how long a server may be unreachable before a sentinel considers it down. It is long enough for a
	// server on a busy machine.
	downAfter = time.Second
	// failoverTimeout is half the time after which sentinels retry a failed fail-over.
	failoverTimeout = 3 * time.Second
	// discoverPeriod and publishPeriod are the milliseconds between two messages of a sentinel to the others: during
	// the start, and afterwards. A sentinel that sees a master whose promotion was not announced demotes it after four
	// periods. The sentinel that promotes a replica checks the result and announces it only once a second, so four
	// publishPeriods must be longer than that.
	discoverPeriod, publishPeriod = 100, 500
)

// RedisSentinelConfig configures a group. The zero value is usable.
type RedisSentinelConfig struct {
	// Args are additional arguments of the command line of both servers; see RedisConfig.Args.
	Args []string
	// Dir is the parent of the servers' own folders. Defaults to the temporary folder.
	Dir string
	// Log receives one line that describes the group and its address. Defaults to no log.
	Log io.Writer
}

// RedisSentinel is a master and a replica that three sentinels monitor. Two sentinels must agree that the master is
// down. Like [Redis], a stopped server is empty when it starts again. It starts with its previous role; within some
// seconds the sentinels assign it the current one. Its methods are safe for concurrent use.
type RedisSentinel struct {
	servers   []*Redis   // two
	sentinels []*process // three

	mu   sync.Mutex
	pair redisPair
}

// StartRedisSentinel starts two servers and three sentinels, and returns when the sentinels know the servers and each
// other. That takes about a second, and 60 s at most. The context bounds the start, not the lifetime of the group. The
// caller must Close the group. StartRedisSentinel returns [ErrMissing] if redis-server is not installed. It requires
// redis-server 7.0 or newer.
func StartRedisSentinel(ctx context.Context, cfg RedisSentinelConfig) (*RedisSentinel, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &RedisSentinel{}
	if err := s.start(ctx, cfg); err != nil {
		return nil, fmt.Errorf("start redis sentinel: %w", errors.Join(err, s.Close()))
	}
	logf(cfg.Log, "redis: using %d sentinels, %s, of %s", sentinels, s.URL(), address(s.pair.master.proc.port))
	return s, nil
}

func (s *RedisSentinel) start(ctx context.Context, cfg RedisSentinelConfig) error {
	conf := "# Rewritten when a sentinel reconfigures this server.\n"
	for range 2 {
		server := &Redis{cfg: RedisConfig{Args: cfg.Args, Dir: cfg.Dir}, group: redisGroup{conf: conf}}
		if _, err := launchRedis(ctx, server); err != nil {
			return err
		}
		s.servers = append(s.servers, server)
		conf = "replicaof 127.0.0.1 " + portText(server) + "\n"
	}
	s.pair = redisPair{master: s.servers[0], replica: s.servers[1]}
	// A sentinel learns of replicas from the master, which it polls rarely: the replica must be connected first.
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
		if err := withSentinel(ctx, p, setPeriods(publishPeriod)); err != nil {
			return err
		}
	}
	return nil
}

// launchSentinel starts a sentinel in its own folder. After an error it has stopped the sentinel and removed the
// folder.
func launchSentinel(ctx context.Context, parent string, master int) (*process, error) {
	program, err := findRedis()
	if err != nil {
		return nil, err
	}
	dir, err := newFolder(parent, "sentinel", nil)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "sentinel.conf") // the sentinel also stores its state there
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
	if err := withSentinel(ctx, p, setPeriods(discoverPeriod)); err != nil {
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

// setPeriods makes a sentinel poll servers more often than the default of once in 1 to 10 seconds, and send messages to
// the other sentinels every publish milliseconds instead of every 2000. It also shortens TILT mode, in which a sentinel
// takes no action after a pause of the machine of more than two seconds, from 30 s to 1 s. During a fail-over a
// sentinel polls INFO once a second regardless of info-period, and promotes no replica whose last INFO is older than
// five ping-periods.
func setPeriods(publish int) func(context.Context, *redis.SentinelClient) error {
	return func(ctx context.Context, client *redis.SentinelClient) error {
		set := redis.NewStatusCmd(ctx, "sentinel", "debug", "info-period", 200, "ping-period", 500, "ask-period", 100,
			"publish-period", publish, "tilt-period", 1000)
		if err := client.Process(ctx, set); err != nil {
			return fmt.Errorf("set the periods of a sentinel: %w", err)
		}
		return nil
	}
}

// withSentinel calls do with a new client of a sentinel.
func withSentinel(ctx context.Context, p *process, do func(context.Context, *redis.SentinelClient) error) error {
	client := redis.NewSentinelClient(&redis.Options{Addr: address(p.port), MaxRetries: -1})
	defer client.Close()
	return do(ctx, client)
}

// URL returns redis-sentinel://127.0.0.1:port,…/mymaster/0 with all sentinels.
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

// MasterName returns the sentinels' name for the master: mymaster.
func (s *RedisSentinel) MasterName() string { return masterName }

// Master returns the initial master, or the server that took over in the last Failover or AwaitFailover. The caller may
// use its Stop, Kill, Start, Freeze, FreezeDetached and Thaw, but must close it through the RedisSentinel.
func (s *RedisSentinel) Master() *Redis { return s.roles().master }

// Replica returns the other server. See Master.
func (s *RedisSentinel) Replica() *Redis { return s.roles().replica }

func (s *RedisSentinel) roles() redisPair {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pair
}

// Close stops all sentinels and servers and removes their folders. It is idempotent.
func (s *RedisSentinel) Close() error {
	var errs []error
	for _, p := range s.sentinels { // first: sentinels would react to the stopped servers
		errs = append(errs, p.close())
	}
	errs = append(errs, closeTogether(s.servers))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close redis sentinel: %w", err)
	}
	return nil
}
