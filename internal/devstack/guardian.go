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

// A guardian is a shell that outlives us: when the pipe between us closes, it
// stops the server it was told of and removes the folder.
type guardian struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

func startGuardian(dir string) (*guardian, error) {
	cmd := exec.Command("/bin/sh", "-c", guardianScript, "outbox-guardian", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of reach of Ctrl-C
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start guardian: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start guardian: %w", err)
	}
	return &guardian{cmd: cmd, pipe: pipe}, nil
}

// watch tells the guardian which process to stop.
func (g *guardian) watch(pid int) error {
	if _, err := fmt.Fprintf(g.pipe, "%d\n", pid); err != nil {
		return fmt.Errorf("tell guardian about process %d: %w", pid, err)
	}
	return nil
}

// forget tells the guardian that the process has ended; its pid may be reused.
func (g *guardian) forget() error {
	if _, err := fmt.Fprintln(g.pipe); err != nil {
		return fmt.Errorf("tell guardian that the server stopped: %w", err)
	}
	return nil
}

// release lets the guardian do its work, as our own end would, and waits for it.
func (g *guardian) release() error {
	g.pipe.Close() // an error leaves nothing to do: Wait closes it too
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("end guardian: %w", err)
	}
	return nil
}
