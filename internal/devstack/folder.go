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

// serverUser returns the user that Postgres must run as, because Postgres refuses to run as root. It returns nil if
// this process is not root, and otherwise user postgres or, if that does not exist, nobody.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("Postgres refuses to run as root, and this system has neither user postgres nor user nobody: %w", err)
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

// newFolder creates a folder in parent that belongs to owner (nil: the user of this process). An empty parent means the
// first temporary folder that owner can enter.
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

// enterable returns an error that names the first folder on the path to dir that who may not enter. It checks the
// permission bits only.
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
			return fmt.Errorf("uid %d may not enter %s; choose another folder, or run chmod o+x on it", who.Uid, real)
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
