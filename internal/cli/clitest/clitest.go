// Package clitest has what the tests of programs made with package app share: commands for test scripts, and checks of
// help.
package clitest

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"
)

// Exits is the command exits of a script. It runs a command that must end with an exit code: exits 2 outbox status
// nonsense.
func Exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// HelpIsComplete checks that every command has a line of purpose, a usage text that begins with the command, an example
// of itself, and a text for each flag.
func HelpIsComplete(t *testing.T, app *cli.App) {
	t.Helper()
	var walk func(path string, c *cli.Command)
	walk = func(path string, c *cli.Command) {
		path += " " + c.Name
		if c.Usage == "" || strings.Contains(c.Usage, "\n") {
			t.Errorf("%s: usage %q is not one line", path, c.Usage)
		}
		if !strings.HasPrefix(c.UsageText, path) {
			t.Errorf("%s: usage text %q does not begin with the command", path, c.UsageText)
		}
		if _, example, ok := strings.Cut(c.Description, "Example"); !ok || !strings.Contains(example, path) {
			t.Errorf("%s: the description has no example of it", path)
		}
		for _, f := range c.Flags {
			if doc, ok := f.(cli.DocGenerationFlag); !ok || doc.GetUsage() == "" {
				t.Errorf("%s: flag %s has no usage", path, f.Names()[0])
			}
		}
		for _, sub := range c.Subcommands {
			walk(path, sub)
		}
	}
	for _, c := range app.Commands {
		walk(app.Name, c)
	}
}
