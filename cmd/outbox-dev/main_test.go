package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/clitest"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// self is the path of this test binary under the name of the program, beside a program outbox.
var self string

// TestMain lets this test binary be the program itself, if it runs by the name of outbox-dev.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "outbox-dev" {
		main()
	}
	outbox, remove, err := buildOutbox(context.Background())
	if err == nil {
		self = filepath.Join(filepath.Dir(outbox), "outbox-dev")
		err = linkSelf(self)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "before the tests:", err)
		remove()
		os.Exit(1)
	}
	devtest.Main(m, remove)
}

// linkSelf gives this test binary another path. A symbolic link would not do: the program finds outbox beside its real path.
func linkSelf(path string) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	if os.Link(binary, path) == nil {
		return nil
	}
	data, err := os.ReadFile(binary) // another file system
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o755)
}

func TestHelpIsComplete(t *testing.T) { clitest.HelpIsComplete(t, newApp()) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(self)+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("OUTBOX_DATABASE_URL", "postgres://127.0.0.1:1/elsewhere") // must not be used
			return nil
		},
		Cmds:               map[string]func(*testscript.TestScript, bool, []string){"exits": clitest.Exits, "json": clitest.JSON},
		RequireUniqueNames: true,
	})
}
