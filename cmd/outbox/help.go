package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// Help is made for a terminal of 80 columns. The library's own prints every flag on one line, and the settings that all
// commands share in front of what is particular to one.
const helpWidth = 80

// categories group the commands of outbox --help by what a person wants to do. One that is not here is under the last.
var categories = []struct {
	title    string
	commands []string
}{
	{"Setting up", []string{"config", "migrate", "roles", "attach", "detach", "doctor"}},
	{"Running", []string{"relay", "invalidate", "pause", "resume", "prune", "sweep"}},
	{"Looking", []string{"status", "check", "top", "trace", "partitions", "staleness", "audit"}},
	{"Repairing", []string{"dead", "replay", "backfill", "jobs", "adopt"}},
	{"Rules", []string{"rules"}},
	{"Other", []string{"demo", "bench", "completion", "man", "version"}},
}

// inCategory are the commands of one, in its order; the last one has the rest, too.
func inCategory(app *cli.App, i int) (out []*cli.Command) {
	for _, name := range categories[i].commands {
		if c := app.Command(name); c != nil {
			out = append(out, c)
		}
	}
	for _, c := range app.Commands {
		if i == len(categories)-1 && !hasCategory(c.Name) {
			out = append(out, c)
		}
	}
	return out
}

func hasCategory(command string) bool {
	for _, c := range categories {
		if slices.Contains(c.commands, command) {
			return true
		}
	}
	return false
}

// common are the shared settings that a command's help explains; it names the others.
var common = []string{"config", "database-url", "nats-url", "redis-url", "stream", "schema", "wait"}

// literal is a template that prints a text as it is.
func literal(text string) string { return "{{" + strconv.Quote(text) + "}}" }

func appHelp(app *cli.App) string {
	var b strings.Builder
	section(&b, "NAME", fold(app.Name+" - "+app.Usage, helpWidth-3))
	section(&b, "USAGE", []string{app.UsageText})
	section(&b, "DESCRIPTION", flow(app.Description, helpWidth-3))
	b.WriteString("\nCOMMANDS:\n") //nolint:errcheck // a Builder never fails
	for i, category := range categories {
		if i > 0 {
			b.WriteByte('\n') //nolint:errcheck
		}
		fmt.Fprintf(&b, "   %s\n", category.title)
		for _, c := range inCategory(app, i) {
			entry(&b, "     ", 12, c.Name, c.Usage)
		}
	}
	b.WriteString("\nGLOBAL OPTIONS:\n") //nolint:errcheck
	entry(&b, "   ", 15, "--help, -h", "show help, also of each command: outbox relay --help")
	entry(&b, "   ", 15, "--version, -v", "print the version")
	return b.String()
}

func commandHelp(path string, c *cli.Command) string {
	var b strings.Builder
	section(&b, "NAME", fold(path+" - "+c.Usage, helpWidth-3))
	section(&b, "USAGE", fold(c.UsageText, helpWidth-3))
	section(&b, "DESCRIPTION", flow(c.Description, helpWidth-3))
	if len(c.Subcommands) > 0 {
		b.WriteString("\nCOMMANDS:\n") //nolint:errcheck
		for _, sub := range c.Subcommands {
			entry(&b, "   ", 12, sub.Name, sub.Usage)
		}
	}
	own, shared := splitFlags(c)
	if len(own) > 0 {
		b.WriteString("\nOPTIONS:\n") //nolint:errcheck
		for _, f := range own {
			entry(&b, "   ", 24, f.head, f.text())
		}
	}
	if len(shared) > 0 {
		b.WriteString("\nSETTINGS THAT ALL COMMANDS SHARE:\n") //nolint:errcheck
		var others []string
		for _, f := range shared {
			if strings.HasPrefix(path, "outbox config ") || slices.Contains(common, f.name) {
				entry(&b, "   ", 24, f.head, f.text())
			} else {
				others = append(others, "--"+f.name)
			}
		}
		if len(others) > 0 {
			section(&b, "", fold("Also "+strings.Join(others, ", ")+"; what they mean: outbox config show --help", helpWidth-3))
		}
	}
	return b.String()
}

func section(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	if b.Len() > 0 {
		b.WriteByte('\n') //nolint:errcheck
	}
	if title != "" {
		fmt.Fprintf(b, "%s:\n", title)
	}
	for _, line := range lines {
		fmt.Fprintln(b, strings.TrimRight("   "+line, " "))
	}
}

// entry prints a name and what it means beside it, below it if the name is too long.
func entry(b *strings.Builder, indent string, column int, name, text string) {
	lines := fold(text, helpWidth-len(indent)-column)
	if len(name)+2 > column || len(lines) == 0 {
		fmt.Fprintf(b, "%s%s\n", indent, name)
	} else {
		fmt.Fprintf(b, "%s%-*s%s\n", indent, column, name, lines[0])
		lines = lines[1:]
	}
	for _, line := range lines {
		fmt.Fprintf(b, "%s%*s%s\n", indent, column, "", line)
	}
}

// flow folds the paragraphs of a text, and leaves what is indented as it is: it is there to be copied.
func flow(text string, width int) (out []string) {
	var paragraph []string
	end := func() {
		out = append(out, fold(strings.Join(paragraph, " "), width)...)
		paragraph = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.HasPrefix(line, "  ") {
			end()
			out = append(out, line)
		} else {
			paragraph = append(paragraph, line)
		}
	}
	end()
	return out
}

// A helpFlag is a flag as help and manual print it.
type helpFlag struct {
	name     string
	head     string // --stream NAME, -s NAME
	usage    string
	standard string // its default
}

var placeholder = regexp.MustCompile("`([^`]*)`")

func (f *helpFlag) text() string {
	usage, env, _ := strings.Cut(f.usage, " [$") // the variables come last
	if f.standard != "" {
		usage += " (default: " + f.standard + ")"
	}
	if env != "" {
		usage += " [$" + strings.ReplaceAll(env, ", ", ",") // they stay together
	}
	return usage
}

func newHelpFlag(flag cli.DocGenerationFlag) *helpFlag {
	f := &helpFlag{name: flag.Names()[0], usage: strings.ReplaceAll(flag.GetUsage(), "`", "")}
	value := ""
	if flag.TakesValue() {
		value = " VALUE"
		if m := placeholder.FindStringSubmatch(flag.GetUsage()); m != nil {
			value = " " + m[1]
		}
		if text := strings.Trim(flag.GetDefaultText(), `"`); text != "0" && text != "0s" && !strings.Contains(f.usage, "(default") {
			f.standard = text
		}
	}
	var heads []string
	for _, name := range flag.Names() {
		dashes := "--"
		if len(name) == 1 {
			dashes = "-"
		}
		heads = append(heads, dashes+name+value)
	}
	f.head = strings.Join(heads, ", ")
	return f
}

// splitFlags are those of a command alone, and the settings that all share.
func splitFlags(c *cli.Command) (own, shared []*helpFlag) {
	for _, flag := range c.Flags {
		doc, ok := flag.(cli.DocGenerationFlag)
		if !ok || flag.Names()[0] == "help" {
			continue
		}
		if in, ok := flag.(cli.CategorizableFlag); ok && in.GetCategory() == sharedSettings {
			shared = append(shared, newHelpFlag(doc))
		} else {
			own = append(own, newHelpFlag(doc))
		}
	}
	return own, shared
}
