package dev

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
)

// A served is a server in a process of its own, or in this one.
type served struct {
	url  string
	pid  int
	stop func() error
}

// timeout bounds the start of a server process and its stop. After that it is killed.
const timeout = 60 * time.Second

// startProcess starts a server in a process of its own, or in this one if command is empty.
func startProcess(command []string, kind string) (*served, error) {
	if len(command) == 0 {
		server, err := start(kind)
		if err != nil {
			return nil, err
		}
		return &served{url: server.URL(), pid: os.Getpid(), stop: server.Close}, nil
	}
	cmd := exec.Command(command[0], command[1:]...) // #nosec G204 -- this program
	cmd.Env = append(os.Environ(), serveVariable+"="+kind)
	urls := make(chan string, 1)
	stderr := &child.Output{}
	cmd.Stderr = stderr
	cmd.Stdout = &child.Output{OnLine: func(line []byte) {
		select {
		case urls <- string(line):
		default:
		}
	}}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	p, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	timer := time.AfterFunc(timeout, p.Kill)
	defer timer.Stop()
	select {
	case url := <-urls:
		return &served{url: url, pid: p.PID(), stop: func() error {
			_ = in.Close() // Serve returns then
			timer := time.AfterFunc(timeout, p.Kill)
			defer timer.Stop()
			if err := p.Wait(); err != nil {
				return fmt.Errorf("stop %s: %w: %s", kind, err, stderr.Tail())
			}
			return nil
		}}, nil
	case <-p.Done():
		return nil, fmt.Errorf("start %s: it ended before it wrote its URL (%s): %s", kind, p.State(), stderr.Tail())
	}
}
