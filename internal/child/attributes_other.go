//go:build !unix

package child

import "syscall"

func setAttributes(*syscall.SysProcAttr, syscall.Signal) {}
