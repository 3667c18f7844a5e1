//go:build unix

package bench

import "syscall"

// apart puts a child into a process group of its own, so that Ctrl-C in a terminal reaches only this process.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
