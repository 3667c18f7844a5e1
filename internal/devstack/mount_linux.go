package devstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// mountMemory mounts a tmpfs of size bytes that belongs to owner (nil: the user of this process).
func mountMemory(dir string, size int64, owner *syscall.Credential) error {
	options := fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", size, os.Geteuid(), os.Getegid())
	if owner != nil {
		options = fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", size, owner.Uid, owner.Gid)
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, options)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return ErrNoMount
	}
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	return nil
}

// unmountAll unmounts every tmpfs that mountMemory mounted in a server's folder.
func unmountAll(dir string) error {
	mounts, err := filepath.Glob(filepath.Join(dir, mountPattern))
	errs := []error{err}
	for _, mount := range mounts {
		// EINVAL: nothing is mounted there.
		if err := syscall.Unmount(mount, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", mount, err))
		}
	}
	return errors.Join(errs...)
}
