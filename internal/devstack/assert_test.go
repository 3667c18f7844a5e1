package devstack_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// within bounds how long a test waits for servers on a busy machine.
const within = 30 * time.Second

// must ends the test if one of the errors is not nil.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// wantExternal requires that every error wraps ErrExternal.
func wantExternal(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if !errors.Is(err, devstack.ErrExternal) {
			t.Errorf("got error %v, want ErrExternal", err)
		}
	}
}

// wantClosed closes a server twice, because Close is idempotent, and requires that its folder in parent is removed.
func wantClosed(t *testing.T, parent string, server io.Closer) {
	t.Helper()
	must(t, server.Close(), server.Close())
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

// serverParent returns a temporary folder that a Postgres of another uid can enter, unlike t.TempDir.
func serverParent(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// empty returns an error that lists the content of a folder that is not empty.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s still contains %v", dir, entries)
	}
	return err
}
