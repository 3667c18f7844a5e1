package devstack

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// serverUser says as whom Postgres runs, because it refuses to run as root: nil
// means as we are, otherwise user postgres or else nobody.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("postgres does not run as root, and there is no user postgres or nobody: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("uid of user %s: %w", account.Username, err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("gid of user %s: %w", account.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// newFolder makes a folder in parent that belongs to owner (nil: to us). An empty
// parent means the first temporary folder that owner can enter.
func newFolder(parent, name string, owner *syscall.Credential) (string, error) {
	parent, err := chooseParent(parent, owner)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "outbox-"+name+"-")
	if err != nil {
		return "", err
	}
	if owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return "", errors.Join(err, os.Remove(dir))
		}
	}
	return dir, nil
}

func chooseParent(given string, who *syscall.Credential) (string, error) {
	choices := []string{given}
	if given == "" {
		choices = []string{os.TempDir(), "/tmp", "/var/tmp"}
	}
	var errs []error
	for _, dir := range choices {
		dir, err := filepath.Abs(dir)
		if err == nil {
			err = enterable(dir, who)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// enterable reports, as an error, the first folder on the way to dir that who
// may not pass. It judges by permission bits alone.
func enterable(dir string, who *syscall.Credential) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil || who == nil {
		return err
	}
	for ; ; real = filepath.Dir(real) {
		info, err := os.Stat(real)
		if err != nil {
			return err
		}
		if !mayEnter(info, who) {
			return fmt.Errorf("uid %d may not enter %s: choose another folder or chmod o+x it", who.Uid, real)
		}
		if real == filepath.Dir(real) {
			return nil
		}
	}
}

func mayEnter(info os.FileInfo, who *syscall.Credential) bool {
	bit := os.FileMode(0o001)
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case stat.Uid == who.Uid:
			bit = 0o100
		case stat.Gid == who.Gid:
			bit = 0o010
		}
	}
	return info.IsDir() && info.Mode()&bit != 0
}
