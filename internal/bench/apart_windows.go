package bench

import "syscall"

// apart puts a child into a process group of its own, so that Ctrl-C in a console reaches only this process.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
