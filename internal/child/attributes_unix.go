//go:build unix && !linux

package child

import "syscall"

func setAttributes(attr *syscall.SysProcAttr, _ syscall.Signal) { attr.Setpgid = true }
