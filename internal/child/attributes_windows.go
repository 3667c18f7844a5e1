package child

import "syscall"

func setAttributes(attr *syscall.SysProcAttr, _ syscall.Signal) {
	attr.CreationFlags |= syscall.CREATE_NEW_PROCESS_GROUP
}
