package devstack

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
)

// A childSpec describes how to run a program.
type childSpec struct {
	argv  []string
	dir   string              // working folder
	log   string              // file for stdout and stderr; truncated at the start
	user  *syscall.Credential // nil: the user of this process
	abort syscall.Signal      // ends the program immediately; on Linux the kernel sends it if this process dies
}

func startChild(spec childSpec) (*child.Process, error) {
	log, err := os.OpenFile(spec.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(spec.argv[0], spec.argv[1:]...)
	cmd.Dir = spec.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: spec.user}
	return child.Start(cmd, spec.abort)
}

// end stops a program and returns when it has exited. It sends the signals in order and then SIGKILL, and waits stopGrace
// after each one. It returns an error if the program did not exit after the first signal.
func end(c *child.Process, signals ...syscall.Signal) error {
	for i, signal := range append(signals, syscall.SIGKILL) {
		if c.Ended() {
			return nil
		}
		_ = c.Signal(signal)          // fails if the program has just exited
		_ = c.Signal(syscall.SIGCONT) // a frozen program handles no signal but SIGKILL
		grace := time.NewTimer(stopGrace)
		select {
		case <-c.Done():
			grace.Stop()
			if i > 0 {
				return fmt.Errorf("process %d did not exit within %s after signal %q; ended by signal %q", c.PID(), stopGrace, signals[0], signal)
			}
			return nil
		case <-grace.C:
		}
	}
	return fmt.Errorf("process %d still runs %s after SIGKILL", c.PID(), stopGrace)
}
