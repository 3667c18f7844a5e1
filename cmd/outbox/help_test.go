package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/help"
)

// The manual has every command and every flag, and no line or escape that man would misread.
func TestManual(t *testing.T) {
	t.Parallel()
	app := newApp()
	page := help.Manual(app, categories)
	macro := regexp.MustCompile(`^\.(TH|SH|SS|PP|TP|EX|EE)( "([^"]|"")*")*$`)
	escape := regexp.MustCompile(`\\(e|-|&|fB|fR|\(aq|\(ga|\(ha|\(ti)`)
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, ".") && !macro.MatchString(line), strings.HasPrefix(line, "'"), line == "":
			t.Errorf("neither text nor a macro: %q", line)
		case strings.Contains(escape.ReplaceAllString(line, ""), `\`):
			t.Errorf("an escape that this program does not write: %q", line)
		}
	}
	text := strings.NewReplacer(`\e`, `\`, `\-`, "-", `\(aq`, "'", `\(ga`, "`", `\(ha`, "^", `\(ti`, "~").Replace(page)
	walk("outbox", app.Commands, func(path string, c *cli.Command) {
		if !strings.Contains(text, strings.ReplaceAll(path+": "+c.Usage, "…", "...")) {
			t.Errorf("no %s", path)
		}
		for _, flag := range c.Flags {
			if name := flag.Names()[0]; !strings.Contains(text, "--"+name) {
				t.Errorf("no flag --%s of %s", name, path)
			}
		}
	})
}

// Help fits a terminal of 80 columns, except for examples; each command is in one category.
func TestHelpFitsTheTerminal(t *testing.T) {
	t.Parallel()
	app := newApp()
	texts, examples := map[string]string{"outbox": helpOf(t, "outbox")}, ""
	walk("outbox", app.Commands, func(path string, c *cli.Command) {
		texts[path], examples = helpOf(t, path), examples+c.Description+"\n"
	})
	for path, text := range texts {
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); len([]rune(line)) > 80 && !strings.Contains(examples, line[3:]+"\n") && !strings.Contains(line, "[$") {
				t.Errorf("%s --help has %d columns: %s", path, len([]rune(line)), line)
			}
		}
	}
	for _, c := range app.Commands {
		if n := len(regexp.MustCompile(`(?m)^     `+c.Name+`( |$)`).FindAllString(texts["outbox"], -1)); n != 1 {
			t.Errorf("%s is listed %d times", c.Name, n)
		}
	}
}

// helpOf is the --help of a command.
func helpOf(t *testing.T, path string) string {
	t.Helper()
	var out bytes.Buffer
	if code := run(context.Background(), append(strings.Fields(path), "--help"), nil, &out, &out); code != 0 || out.Len() == 0 {
		t.Fatalf("%s --help ends with %d: %s", path, code, &out)
	}
	return out.String()
}
