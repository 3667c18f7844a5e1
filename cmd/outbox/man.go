package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "print the manual page", UsageText: "outbox man",
		Description: `Prints one page for all commands and settings, in the language of man (roff).

Examples:
  outbox man > outbox.1 && man ./outbox.1
  outbox man | gzip > outbox.1.gz`,
		Action: func(c *cli.Context) error {
			_, err := io.WriteString(c.App.Writer, manual(c.App))
			if err != nil {
				return fmt.Errorf("print: %w", err)
			}
			return nil
		},
	}
}

// A pageOfMan is a manual being written, in the macros man(7).
type pageOfMan struct{ strings.Builder }

// manual is the page of the whole program. It has no date, so that two builds of one source print the same.
func manual(app *cli.App) string {
	p := &pageOfMan{}
	p.macro("TH", "OUTBOX", "1", "", "outbox "+app.Version, "")
	p.macro("SH", "NAME")
	p.text(app.Name + " - " + app.Usage)
	p.macro("SH", "SYNOPSIS")
	p.text(app.UsageText)
	p.macro("SH", "DESCRIPTION")
	p.flow(app.Description)
	for i, category := range categories {
		commands := inCategory(app, i)
		if len(commands) == 0 {
			continue
		}
		p.macro("SH", strings.ToUpper(category.title))
		for _, c := range commands {
			p.command(app.Name, c)
		}
	}
	p.macro("SH", "SETTINGS OF EVERY COMMAND")
	_, shared := splitFlags(app.Command("config").Command("show"))
	p.flags(shared)
	p.macro("SH", "FILES")
	p.text("The file of --config has a key for each setting, those of relay and invalidate in sections of these names: outbox config init.")
	return p.String()
}

func (p *pageOfMan) command(parent string, c *cli.Command) {
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

func (p *pageOfMan) flags(flags []*helpFlag) {
	for _, f := range flags {
		p.macro("TP")
		fmt.Fprintf(p, "\\fB%s\\fR\n", roff(f.head))
		p.text(f.text())
	}
}

// flow prints paragraphs, and what is indented as examples.
func (p *pageOfMan) flow(text string) {
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

func (p *pageOfMan) macro(name string, arguments ...string) {
	line := "." + name
	for _, argument := range arguments {
		line += ` "` + strings.ReplaceAll(roff(argument), `"`, `""`) + `"`
	}
	fmt.Fprintln(p, line)
}

// text prints a line that is no macro, whatever it begins with.
func (p *pageOfMan) text(line string) {
	line = roff(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	fmt.Fprintln(p, line)
}

// roff escapes what that language takes for its own; dashes stay such as can be copied.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...").Replace(text)
}
