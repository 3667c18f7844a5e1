package devstack

import "syscall"

// dieWithUs makes the kernel send signal to the child when the thread that
// started it ends.
func dieWithUs(attr *syscall.SysProcAttr, signal syscall.Signal) { attr.Pdeathsig = signal }
