package main

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// The help of each command has a usage line, a description and an example.
func TestHelpIsComplete(t *testing.T) {
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
			if usage := f.(cli.DocGenerationFlag).GetUsage(); usage == "" {
				t.Errorf("%s: flag %s has no usage", path, f.Names()[0])
			}
		}
		for _, sub := range c.Subcommands {
			walk(path, sub)
		}
	}
	for _, c := range newApp().Commands {
		walk("outbox", c)
	}
}
