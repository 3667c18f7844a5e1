package devstack

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A child is one run of a program: it has been started and will end.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
	err  error         // how it ended, nil for exit status 0; read only after done
}

// A childSpec says what to run and as whom.
type childSpec struct {
	argv  []string
	dir   string              // working folder
	log   string              // file for stdout and stderr, begun anew
	user  *syscall.Credential // nil: as we are
	abort syscall.Signal      // ends the program at once; sent by the kernel if we die (Linux)
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
		Setpgid:    true, // Ctrl-C in a terminal reaches us alone, and we stop the server in order
		Credential: spec.user,
	}
	dieWithUs(cmd.SysProcAttr, spec.abort)

	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel's death signal fires when the starting thread ends, so this
		// thread belongs to the child until the child has ended.
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

// end makes the program end and returns when it has. It sends the signals in
// turn, each after the one before went unheeded for stopGrace, then SIGKILL. It
// returns an error if the first signal was not enough.
func (c *child) end(signals ...syscall.Signal) error {
	for i, signal := range append(signals, syscall.SIGKILL) {
		if c.ended() {
			return nil
		}
		_ = c.cmd.Process.Signal(signal)          // it may just have ended: done tells
		_ = c.cmd.Process.Signal(syscall.SIGCONT) // a frozen one heeds nothing but SIGKILL
		grace := time.NewTimer(stopGrace)
		select {
		case <-c.done:
			grace.Stop()
			if i > 0 {
				return fmt.Errorf("process %d did not heed %q for %s and was ended by %q", c.pid(), signals[0], stopGrace, signal)
			}
			return nil
		case <-grace.C:
		}
	}
	return fmt.Errorf("process %d survives SIGKILL", c.pid())
}
