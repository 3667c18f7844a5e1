package dev

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A child is a server in a process of its own.
type child struct {
	url  string
	pid  int
	stop func() error
}

// childWait bounds the start of a child and its stop: it is killed after that.
const childWait = 60 * time.Second

// startChild starts a server in a process of its own, or in this one if command is empty.
func startChild(command []string, kind string) (*child, error) {
	if len(command) == 0 {
		server, err := start(kind)
		if err != nil {
			return nil, err
		}
		return &child{url: server.URL(), pid: os.Getpid(), stop: server.Close}, nil
	}
	cmd := exec.Command(command[0], command[1:]...) // #nosec G204 -- this program
	cmd.Env = append(os.Environ(), serveVariable+"="+kind)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C then signals this process only, which stops the child
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	stop := func() error {
		_ = in.Close() // Serve returns then
		timer := time.AfterFunc(childWait, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("stop %s: %w: %s", kind, err, stderr.String())
		}
		return nil
	}
	timer := time.AfterFunc(childWait, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	timer.Stop()
	if err != nil {
		return nil, fmt.Errorf("start %s: it wrote no URL: %w", kind, errors.Join(err, stop()))
	}
	return &child{url: strings.TrimSpace(line), pid: cmd.Process.Pid, stop: stop}, nil
}
