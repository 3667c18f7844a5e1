package bench

import (
	"syscall"
	"time"
)

// cpuOfSelf returns the CPU time that this process has used, in user and in kernel mode.
func cpuOfSelf() time.Duration {
	this, err := syscall.GetCurrentProcess()
	if err != nil {
		panic(err) // a constant handle, never an error
	}
	var created, exited, kernel, user syscall.Filetime
	if err := syscall.GetProcessTimes(this, &created, &exited, &kernel, &user); err != nil {
		panic(err) // only a bad argument causes an error
	}
	return spanOf(kernel) + spanOf(user)
}

// spanOf converts a time that Windows counts in units of 100 ns.
func spanOf(t syscall.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}
