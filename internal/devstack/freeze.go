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

// Freeze halts the server by SIGSTOP and returns when it stands still. It keeps its
// port and its connections, and answers nothing until [Redis.Thaw]. What it is sent
// meanwhile waits in the kernel: it does all of it afterwards. See [Redis.Deafen] for
// a replica that is to miss something. Stop, Kill and Close work on a frozen server.
// Freezing a frozen server is no error.
func (r *Redis) Freeze() error {
	err := ErrNotOurs
	if r.proc != nil {
		err = r.proc.freeze()
	}
	if err != nil {
		return fmt.Errorf("freeze redis: %w", err)
	}
	return nil
}

// Thaw ends a Freeze. It is no error if the server runs, and one if it is stopped.
func (r *Redis) Thaw() error {
	err := ErrNotOurs
	if r.proc != nil {
		err = r.proc.thaw()
	}
	if err != nil {
		return fmt.Errorf("thaw redis: %w", err)
	}
	return nil
}

// Deafen freezes a replica and closes its connection at the master, so that nothing
// that the master does from now on waits for it. If the master is gone when it thaws,
// it has missed all of that: keys deleted meanwhile are back once it is promoted. If
// not, it connects again and catches up. Other replicas of the master are cut off
// too, for a second at most. It works in a cluster and under sentinels. After an
// error the replica is not frozen. It is an error if it does not run or has no link to a
// master.
func (r *Redis) Deafen(ctx context.Context) error {
	err := ErrNotOurs
	if r.proc != nil {
		err = r.deafen(ctx)
	}
	if err != nil {
		return fmt.Errorf("deafen redis: %w", err)
	}
	return nil
}

func (r *Redis) deafen(ctx context.Context) error {
	if !r.proc.running() {
		return errors.New("not running")
	}
	var info map[string]string
	err := r.ask(ctx, func(ctx context.Context, client *redis.Client) error {
		var err error
		info, err = replication(ctx, client)
		return err
	})
	if err != nil {
		return err
	}
	if info["master_link_status"] != "up" {
		return fmt.Errorf("it has no link to a master: role %s", info["role"])
	}
	if err := r.proc.freeze(); err != nil {
		return err
	}
	master := net.JoinHostPort(info["master_host"], info["master_port"])
	err = r.cfg.ask(ctx, master, func(ctx context.Context, client *redis.Client) error {
		return client.ClientKillByFilter(ctx, "TYPE", "replica").Err()
	})
	if err != nil {
		return errors.Join(fmt.Errorf("cut the replicas of %s: %w", master, err), r.proc.thaw())
	}
	return nil
}

// replication asks a server about its part in replication.
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

// freeze halts the server and returns when it stands still.
func (p *process) freeze() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.signalLocked(syscall.SIGSTOP); err != nil {
		return err
	}
	p.frozen = true
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	return await(ctx, "standstill", func(context.Context) error { return halted(p.child.pid()) })
}

// thaw lets the server go on.
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
	if p.child == nil || p.child.ended() {
		return errors.New("not running")
	}
	return p.child.cmd.Process.Signal(signal)
}

// running reports whether the server can answer.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.child != nil && !p.child.ended() && !p.frozen
}
