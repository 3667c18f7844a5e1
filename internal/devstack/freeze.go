package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Freeze suspends the server with SIGSTOP and returns when it is suspended. The server keeps its port and its
// connections, and does not reply until [Redis.Thaw]. Data that it receives meanwhile stays in the kernel, and it
// processes all of it after Thaw; to make a replica miss data, use [Redis.FreezeDetached]. Stop, Kill and Close work on
// a frozen server. Freezing a frozen server is not an error.
func (r *Redis) Freeze() error { return control(r.proc, "freeze redis", (*process).freeze) }

// Thaw resumes a frozen server. Thawing a running server is not an error; thawing a stopped one is.
func (r *Redis) Thaw() error { return control(r.proc, "thaw redis", (*process).thaw) }

// FreezeDetached freezes a replica and closes its connection at the master, so that it does not receive later writes.
// If the master is stopped when the replica thaws, the replica has missed these writes: once it is promoted, keys that
// were deleted meanwhile exist again. If the master is running, the replica reconnects and catches up. Other replicas
// of the master are disconnected too, for a second at most. FreezeDetached works in a cluster and under sentinels. It
// returns an error if r is not running or not connected to a master; r is then not frozen.
func (r *Redis) FreezeDetached(ctx context.Context) error {
	return control(r.proc, "freeze redis replica", func(*process) error { return r.freezeDetached(ctx) })
}

func (r *Redis) freezeDetached(ctx context.Context) error {
	if !r.proc.running() {
		return errors.New("not running")
	}
	var info map[string]string
	err := r.withClient(ctx, func(ctx context.Context, client *redis.Client) error {
		var err error
		info, err = replication(ctx, client)
		return err
	})
	if err != nil {
		return err
	}
	if info["master_link_status"] != "up" {
		return fmt.Errorf("not connected to a master; its role is %s", info["role"])
	}
	if err := r.proc.freeze(); err != nil {
		return err
	}
	master := net.JoinHostPort(info["master_host"], info["master_port"])
	err = r.cfg.withClient(ctx, master, func(ctx context.Context, client *redis.Client) error {
		return client.ClientKillByFilter(ctx, "TYPE", "replica").Err()
	})
	if err != nil {
		return errors.Join(fmt.Errorf("disconnect the replicas of %s: %w", master, err), r.proc.thaw())
	}
	return nil
}

// replication returns the fields of INFO replication.
func replication(ctx context.Context, client *redis.Client) (map[string]string, error) {
	text, err := client.Info(ctx, "replication").Result()
	if err != nil {
		return nil, err
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info, nil
}

// freeze suspends the server and returns when it is suspended.
func (p *process) freeze() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.signalLocked(syscall.SIGSTOP); err != nil {
		return err
	}
	p.frozen = true
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	return await(ctx, "the process to be suspended", func(context.Context) error { return halted(p.child.PID()) })
}

// thaw resumes the server.
func (p *process) thaw() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.signalLocked(syscall.SIGCONT); err != nil {
		return err
	}
	p.frozen = false
	return nil
}

func (p *process) signalLocked(signal syscall.Signal) error {
	if p.child == nil || p.child.Ended() {
		return errors.New("not running")
	}
	return p.child.Signal(signal)
}

// running reports whether the server is neither stopped nor frozen.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.child != nil && !p.child.Ended() && !p.frozen
}
