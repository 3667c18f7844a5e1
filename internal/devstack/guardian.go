package devstack

import (
	_ "embed"
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

//go:embed guardian.sh
var guardianScript string

// A guardian is a shell that outlives this process. When the pipe from this process closes, the guardian stops the
// server that it watches and removes the server's folder.
type guardian struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

func startGuardian(dir string) (*guardian, error) {
	cmd := exec.Command("/bin/sh", "-c", guardianScript, "outbox-guardian", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C in the terminal does not reach it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start guardian: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start guardian: %w", err)
	}
	return &guardian{cmd: cmd, pipe: pipe}, nil
}

// watch makes the guardian responsible for a process.
func (g *guardian) watch(pid int) error {
	if _, err := fmt.Fprintf(g.pipe, "%d\n", pid); err != nil {
		return fmt.Errorf("register process %d with its guardian: %w", pid, err)
	}
	return nil
}

// forget ends the guardian's responsibility for a process that has exited: the system may reuse its pid.
func (g *guardian) forget() error {
	if _, err := fmt.Fprintln(g.pipe); err != nil {
		return fmt.Errorf("unregister a stopped server from its guardian: %w", err)
	}
	return nil
}

// release closes the pipe, which makes the guardian clean up as it would after the death of this process, and waits
// until the guardian has exited.
func (g *guardian) release() error {
	g.pipe.Close() // the error can be ignored: Wait closes the pipe too
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("wait for guardian: %w", err)
	}
	return nil
}
