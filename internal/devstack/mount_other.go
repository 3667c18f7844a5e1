//go:build !linux

package devstack

import "syscall"

// mountMemory knows no way here.
func mountMemory(string, int64, *syscall.Credential) error { return ErrNoMount }

// unmountAll has nothing to unmount.
func unmountAll(string) error { return nil }
