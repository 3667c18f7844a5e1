package help

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// A page is a manual page being written, in the macros of man(7).
type page struct{ strings.Builder }

// Manual is the manual page of the program, in roff. It has no date, so that two builds of one source print the same
// page.
func Manual(app *cli.App, categories []Category) string {
	p := &page{}
	p.macro("TH", "OUTBOX", "1", "", "outbox "+app.Version, "")
	p.macro("SH", "NAME")
	p.text(app.Name + " - " + app.Usage)
	p.macro("SH", "SYNOPSIS")
	p.text(app.UsageText)
	p.macro("SH", "DESCRIPTION")
	p.flow(app.Description)
	for i, category := range categories {
		commands := inCategory(app, categories, i)
		if len(commands) == 0 {
			continue
		}
		p.macro("SH", strings.ToUpper(category.Title))
		for _, c := range commands {
			p.command(app.Name, c)
		}
	}
	p.macro("SH", "SETTINGS OF ALL COMMANDS")
	_, shared := splitFlags(app.Command("config").Command("show"))
	p.flags(shared)
	p.macro("SH", "FILES")
	p.text("The file of --config has a key for each setting; those of relay and invalidate are in sections of these names. outbox config init prints one.")
	return p.String()
}

func (p *page) command(parent string, c *cli.Command) {
	path := parent + " " + c.Name
	p.macro("SS", c.UsageText)
	p.text(path + ": " + c.Usage + ".")
	p.macro("PP")
	p.flow(c.Description)
	own, _ := splitFlags(c)
	p.flags(own)
	for _, sub := range c.Subcommands {
		p.command(path, sub)
	}
}

func (p *page) flags(flags []*flagText) {
	for _, f := range flags {
		p.macro("TP")
		fmt.Fprintf(p, "\\fB%s\\fR\n", roff(f.head))
		p.text(f.text())
	}
}

// flow prints paragraphs, and indented lines as examples.
func (p *page) flow(text string) {
	example := false
	for line := range strings.SplitSeq(text, "\n") {
		if indented := strings.HasPrefix(line, "  "); indented != example {
			example = indented
			p.macro(map[bool]string{true: "EX", false: "EE"}[example])
		}
		switch {
		case line == "":
			p.macro("PP")
		default:
			p.text(line)
		}
	}
	if example {
		p.macro("EE")
	}
}

func (p *page) macro(name string, arguments ...string) {
	line := "." + name
	for _, argument := range arguments {
		line += ` "` + strings.ReplaceAll(roff(argument), `"`, `""`) + `"`
	}
	fmt.Fprintln(p, line)
}

// text prints a line that is not a macro, whatever it begins with.
func (p *page) text(line string) {
	line = roff(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	fmt.Fprintln(p, line)
}

// roff escapes the characters that have a meaning in roff. Dashes become those that can be copied to a shell.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...").Replace(text)
}
