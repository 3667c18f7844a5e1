package devstack

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A child is one run of a program, from its start to its exit.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has exited
	err  error         // nil for exit status 0; read only after done is closed
}

// A childSpec describes how to run a program.
type childSpec struct {
	argv  []string
	dir   string              // working folder
	log   string              // file for stdout and stderr; truncated at the start
	user  *syscall.Credential // nil: the user of this process
	abort syscall.Signal      // ends the program immediately; on Linux the kernel sends it if this process dies
}

func startChild(spec childSpec) (*child, error) {
	log, err := os.OpenFile(spec.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(spec.argv[0], spec.argv[1:]...)
	cmd.Dir = spec.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:    true, // Ctrl-C in a terminal then signals this process only, which stops the server cleanly
		Credential: spec.user,
	}
	dieWithUs(cmd.SysProcAttr, spec.abort)

	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread that started the child ends, so this goroutine keeps its
		// thread until the child has exited.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// end stops the program and returns when it has exited. It sends the signals in order and then SIGKILL, and waits
// stopGrace after each one. It returns an error if the program did not exit after the first signal.
func (c *child) end(signals ...syscall.Signal) error {
	for i, signal := range append(signals, syscall.SIGKILL) {
		if c.ended() {
			return nil
		}
		_ = c.cmd.Process.Signal(signal)          // fails if the program has just exited; done reports that
		_ = c.cmd.Process.Signal(syscall.SIGCONT) // a frozen program handles no signal but SIGKILL
		grace := time.NewTimer(stopGrace)
		select {
		case <-c.done:
			grace.Stop()
			if i > 0 {
				return fmt.Errorf("process %d did not exit within %s after signal %q; ended by signal %q", c.pid(), stopGrace, signals[0], signal)
			}
			return nil
		case <-grace.C:
		}
	}
	return fmt.Errorf("process %d still runs %s after SIGKILL", c.pid(), stopGrace)
}
