package staleness

import (
	"os/exec"
	"syscall"
)

// dieWithUs makes the kernel kill the program when the thread that started it ends.
func dieWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
