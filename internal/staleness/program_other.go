//go:build !linux

package staleness

import "os/exec"

// dieWithUs does nothing: only Linux has such a signal.
func dieWithUs(*exec.Cmd) {}
