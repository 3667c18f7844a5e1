//go:build !linux

package devstack

import "syscall"

// mountMemory is not supported on this system.
func mountMemory(string, int64, *syscall.Credential) error { return ErrNoMount }

// unmountAll does nothing: mountMemory never mounts anything on this system.
func unmountAll(string) error { return nil }
