package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// What a child serves.
const (
	serveNATS    = "nats"
	serveCluster = "nats-cluster"
)

// serveVariable tells a process that it is a child, and what it serves.
const serveVariable = "OUTBOX_BENCH_SERVE"

// Serving says what this process was started to serve; empty if it is no child.
func Serving() string { return os.Getenv(serveVariable) }

// Serve is the other side of a child: it runs a NATS, or a cluster of three, writes its URL on a line of out, and stops it
// when in ends, as it does when the parent does, or ctx.
func Serve(ctx context.Context, kind string, in io.Reader, out io.Writer) error {
	var server interface {
		URL() string
		Close() error
	}
	var err error
	switch kind {
	case serveNATS:
		server, err = devstack.StartNATS(devstack.NATSConfig{})
	case serveCluster:
		server, err = devstack.StartNATSCluster(devstack.NATSClusterConfig{})
	default:
		return fmt.Errorf("serve %q: want %s or %s", kind, serveNATS, serveCluster)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, server.URL())
	ended := make(chan struct{})
	go func() { // ends with the process, at the latest
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // the end is what counts
	}()
	if err == nil {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	return errors.Join(err, server.Close())
}

// served is a server in a process of its own.
type served struct {
	url  string
	pid  int
	stop func() error
}

// childWait bounds the start and the stop of a child.
const childWait = 60 * time.Second

// startChild starts a server; without a command line in this process.
func startChild(command []string, kind string) (*served, error) {
	if len(command) == 0 {
		return startHere(kind)
	}
	cmd := exec.Command(command[0], command[1:]...) // #nosec G204 -- ourselves
	cmd.Env = append(os.Environ(), serveVariable+"="+kind)
	cmd.Args[0] = programName
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	cmd.SysProcAttr = apart() // Ctrl-C reaches us alone, and we stop it in order
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	stop := func() error {
		_ = in.Close() // it ends
		timer := time.AfterFunc(childWait, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("stop %s: %w: %s", kind, err, said.String())
		}
		return nil
	}
	timer := time.AfterFunc(childWait, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	timer.Stop()
	if err != nil {
		return nil, fmt.Errorf("start %s: no address came: %w", kind, errors.Join(err, stop()))
	}
	return &served{url: strings.TrimSpace(line), pid: cmd.Process.Pid, stop: stop}, nil
}

func startHere(kind string) (*served, error) {
	if kind == serveCluster {
		c, err := devstack.StartNATSCluster(devstack.NATSClusterConfig{})
		if err != nil {
			return nil, err
		}
		return &served{url: c.URL(), pid: os.Getpid(), stop: c.Close}, nil
	}
	n, err := devstack.StartNATS(devstack.NATSConfig{})
	if err != nil {
		return nil, err
	}
	return &served{url: n.URL(), pid: os.Getpid(), stop: n.Close}, nil
}
