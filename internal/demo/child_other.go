//go:build !linux

package demo

import "syscall"

// dieWithUs does nothing here: after a kill -9 of ours the child stays, without the servers it needs.
func dieWithUs(*syscall.SysProcAttr) {}
