package child

import "syscall"

func setAttributes(attr *syscall.SysProcAttr, death syscall.Signal) {
	attr.Setpgid, attr.Pdeathsig = true, death
}
