package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// The manual has every command and every flag, and nothing that man would take for a macro or an escape by mistake.
func TestManual(t *testing.T) {
	t.Parallel()
	app := newApp()
	page := manual(app)
	macro := regexp.MustCompile(`^\.(TH|SH|SS|PP|TP|EX|EE)( "([^"]|"")*")*$`)
	escape := regexp.MustCompile(`\\(e|-|&|fB|fR|\(aq|\(ga|\(ha|\(ti)`)
	for line := range strings.Lines(page) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, ".") && !macro.MatchString(line), strings.HasPrefix(line, "'"), line == "":
			t.Errorf("no line of text, and no macro: %q", line)
		case strings.Contains(escape.ReplaceAllString(line, ""), `\`):
			t.Errorf("an escape that is not ours: %q", line)
		}
	}
	walk("outbox", app.Commands, func(path string, c *cli.Command) {
		if !strings.Contains(page, roff(path+": "+c.Usage)) {
			t.Errorf("no %s", path)
		}
		for _, flag := range c.Flags {
			if name := flag.Names()[0]; !strings.Contains(page, roff("--"+name)) {
				t.Errorf("no flag --%s of %s", name, path)
			}
		}
	})
	var p pageOfMan
	p.text(`.TH 'x' \n`)
	p.text(`'so`)
	if want := "\\&.TH \\(aqx\\(aq \\en\n\\(aqso\n"; p.String() != want {
		t.Errorf("%q, want %q", p.String(), want)
	}
}

// Help fits a terminal of 80 columns, but for examples; each command is in one category.
func TestHelpFitsTheTerminal(t *testing.T) {
	t.Parallel()
	app := newApp()
	texts, examples := map[string]string{"outbox": appHelp(app)}, ""
	walk("outbox", app.Commands, func(path string, c *cli.Command) {
		texts[path], examples = commandHelp(path, c), examples+c.Description+"\n"
	})
	for path, text := range texts {
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); len([]rune(line)) > helpWidth && !strings.Contains(examples, line[3:]+"\n") && !strings.Contains(line, "[$") {
				t.Errorf("%s --help has %d columns: %s", path, len([]rune(line)), line)
			}
		}
	}
	seen := make(map[string]int)
	for i := range categories {
		for _, c := range inCategory(app, i) {
			seen[c.Name]++
		}
	}
	for _, c := range app.Commands {
		if seen[c.Name] != 1 {
			t.Errorf("%s is there %d times", c.Name, seen[c.Name])
		}
	}
}
