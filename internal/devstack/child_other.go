//go:build !linux

package devstack

import "syscall"

// dieWithUs does nothing on this system: only the guardian stops the child.
func dieWithUs(*syscall.SysProcAttr, syscall.Signal) {}

// halted assumes that SIGSTOP takes effect immediately.
func halted(int) error { return nil }
