//go:build crashpoints

// Package crash names the points of the protocols at which a process may die. In a build with the tag crashpoints, which
// only the fault tests make, the process kills itself at the one that OUTBOX_CRASH names, and takes what OUTBOX_FORCE names
// for granted; otherwise nothing happens.
package crash

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// OUTBOX_CRASH=point:n kills the process with SIGKILL when it comes to the point for the nth time.
var (
	name, count, _ = strings.Cut(os.Getenv("OUTBOX_CRASH"), ":")
	left           atomic.Int64
)

func init() {
	n, err := strconv.Atoi(count)
	if name != "" && (err != nil || n < 1) {
		panic("OUTBOX_CRASH: want point:n")
	}
	left.Store(int64(n))
}

// Point ends the process if it is the one named.
func Point(point string) {
	if point == name && left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}

var forced = os.Getenv("OUTBOX_FORCE")

// Forced says that a check is left out: lead, the lock of the leader.
func Forced(check string) bool { return check == forced }
