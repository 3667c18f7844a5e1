//go:build crashpoints

// Package crash marks points of the protocols at which fault tests let the process die. In a build with the tag
// crashpoints, which only the fault tests use, the process kills itself at the point in OUTBOX_CRASH, and skips the
// check in OUTBOX_FORCE. In every other build the functions do nothing.
package crash

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// OUTBOX_CRASH=point:n kills the process with SIGKILL when it reaches the point for the nth time.
var (
	name, count, _ = strings.Cut(os.Getenv("OUTBOX_CRASH"), ":")
	left           atomic.Int64
)

func init() {
	n, err := strconv.Atoi(count)
	if name != "" && (err != nil || n < 1) {
		panic("OUTBOX_CRASH: invalid value; want point:n, with n at least 1")
	}
	left.Store(int64(n))
}

// Point kills the process if point is the one in OUTBOX_CRASH and has been reached as often as that requires.
func Point(point string) {
	if point == name && left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until the signal arrives
	}
}

var forced = os.Getenv("OUTBOX_FORCE")

// Forced reports whether the caller must skip a check. The only check is "lead", the lock of the leader.
func Forced(check string) bool { return check == forced }
