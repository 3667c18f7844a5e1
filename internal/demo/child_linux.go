package demo

import "syscall"

// dieWithUs makes the kernel kill the child when the thread that started it ends.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
