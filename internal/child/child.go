// Package child runs a program as a child process that does not outlive this process.
//
// On Linux the kernel kills the child when this process dies, even of SIGKILL; elsewhere the child then keeps running. A child
// has a process group of its own, so Ctrl-C in a terminal reaches this process alone, which can stop its children in the
// right order.
package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A Process is a child that was started. It is safe for concurrent use.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of exec.Cmd.Wait; may be read once done is closed
}

// Start starts cmd, which the caller must not use afterwards. On Linux the kernel sends death to the child when this
// process dies.
func Start(cmd *exec.Cmd, death syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	setAttributes(cmd.SysProcAttr, death)
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread that started the child ends, so this thread must exist for
		// as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err // names the program
	}
	return p, nil
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Wait waits until the process has ended. It returns nil if its exit status was 0, otherwise an *exec.ExitError or an
// error of copying its output.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// State waits until the process has ended and returns how it ended.
func (p *Process) State() *os.ProcessState {
	<-p.done
	return p.cmd.ProcessState
}

// Signal sends a signal to the process. It returns os.ErrProcessDone if the process has ended.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// Kill kills the process (SIGKILL) and waits until it has ended.
func (p *Process) Kill() {
	_ = p.Signal(os.Kill) // the process may have ended
	<-p.done
}

// Stop asks the process to end (SIGTERM) and waits until it has. If it still runs after grace, or on a system without
// SIGTERM, Stop kills it. It returns an error if the process had to be killed or ended with an exit status other than 0.
func (p *Process) Stop(grace time.Duration) error {
	if p.Ended() {
		return p.err
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.Kill()
		return p.err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("process %d did not end within %s of SIGTERM and was killed", p.PID(), grace)
	}
}
