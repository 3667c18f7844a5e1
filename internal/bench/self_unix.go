//go:build unix

package bench

import (
	"syscall"
	"time"
)

// cpuOfSelf returns the CPU time that this process has used, in user and in system mode.
func cpuOfSelf() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only a bad argument causes an error
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
