// Package help renders --help of every command and the manual page of the program from the same descriptions.
//
// The flag library's own help prints each flag on one line, however long, and the settings that all commands share
// before the flags of the command.
package help

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

// width is that of the terminal that --help is formatted for, in columns.
const width = 80

// A Category groups commands of the program by the purpose of a person.
type Category struct {
	Title    string
	Commands []string
}

// Prepare gives the program and its commands their help. A command that no category names is in the last one.
func Prepare(app *cli.App, categories []Category) {
	for _, c := range app.Commands {
		prepare(app.Name, c)
	}
	app.CustomAppHelpTemplate = literal(ofApp(app, categories))
}

func prepare(parent string, c *cli.Command) {
	path := parent + " " + c.Name
	c.CustomHelpTemplate = literal(ofCommand(path, c))
	for _, sub := range c.Subcommands {
		prepare(path, sub)
	}
}

// inCategory returns the commands of category i, in its order; the last one also has those that no category names.
func inCategory(app *cli.App, categories []Category, i int) (out []*cli.Command) {
	named := func(name string) bool {
		return slices.ContainsFunc(categories, func(c Category) bool { return slices.Contains(c.Commands, name) })
	}
	for _, name := range categories[i].Commands {
		if c := app.Command(name); c != nil {
			out = append(out, c)
		}
	}
	for _, c := range app.Commands {
		if i == len(categories)-1 && !named(c.Name) {
			out = append(out, c)
		}
	}
	return out
}

// common are the shared settings that the help of a command explains. It only names the others.
var common = []string{"config", "database-url", "nats-url", "redis-url", "stream", "schema", "wait"}

// literal is a template that prints a text unchanged.
func literal(text string) string { return "{{" + strconv.Quote(text) + "}}" }

func ofApp(app *cli.App, categories []Category) string {
	var b strings.Builder
	section(&b, "NAME", term.Fold(app.Name+" - "+app.Usage, width-3))
	section(&b, "USAGE", []string{app.UsageText})
	section(&b, "DESCRIPTION", flow(app.Description, width-3))
	b.WriteString("\nCOMMANDS:\n") //nolint:errcheck // a Builder never fails
	for i, category := range categories {
		if i > 0 {
			b.WriteByte('\n') //nolint:errcheck
		}
		fmt.Fprintf(&b, "   %s\n", category.Title)
		for _, c := range inCategory(app, categories, i) {
			entry(&b, "     ", 12, c.Name, c.Usage)
		}
	}
	b.WriteString("\nGLOBAL OPTIONS:\n") //nolint:errcheck
	entry(&b, "   ", 15, "--help, -h", "show help; each command has its own: "+app.Name+" "+app.Commands[0].Name+" --help")
	entry(&b, "   ", 15, "--version, -v", "print the version")
	return b.String()
}

func ofCommand(path string, c *cli.Command) string {
	var b strings.Builder
	section(&b, "NAME", term.Fold(path+" - "+c.Usage, width-3))
	section(&b, "USAGE", term.Fold(c.UsageText, width-3))
	description, examples := splitExamples(c.Description)
	section(&b, "DESCRIPTION", flow(description, width-3))
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
	section(&b, "EXAMPLES", examples)
	if len(shared) > 0 {
		b.WriteString("\nSETTINGS OF ALL COMMANDS:\n") //nolint:errcheck
		var others []string
		for _, f := range shared {
			if strings.HasPrefix(path, "outbox config ") || slices.Contains(common, f.name) {
				entry(&b, "   ", 24, f.head, f.text())
			} else {
				others = append(others, "--"+f.name)
			}
		}
		if len(others) > 0 {
			section(&b, "", term.Fold("Also "+strings.Join(others, ", ")+"; outbox config show --help explains them.", width-3))
		}
	}
	return b.String()
}

// splitExamples separates the examples at the end of a description, which help prints after the flags.
func splitExamples(description string) (text string, examples []string) {
	for _, title := range []string{"\nExamples:\n", "\nExample:\n"} {
		before, after, ok := strings.Cut(description, title)
		if !ok {
			continue
		}
		for line := range strings.SplitSeq(strings.TrimRight(after, "\n"), "\n") {
			examples = append(examples, strings.TrimPrefix(line, "  "))
		}
		return strings.TrimRight(before, "\n"), examples
	}
	return description, nil
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

// entry prints a name with its meaning beside it, or below it if the name is too long.
func entry(b *strings.Builder, indent string, column int, name, text string) {
	lines := term.Fold(text, width-len(indent)-column)
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

// flow folds the paragraphs of a text. It leaves indented lines unchanged, since they are to be copied.
func flow(text string, columns int) (out []string) {
	var paragraph []string
	end := func() {
		out = append(out, term.Fold(strings.Join(paragraph, " "), columns)...)
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

// A flagText is a flag as help and manual print it.
type flagText struct {
	name     string
	head     string // --stream NAME, -s NAME
	usage    string
	standard string // its default
}

var placeholder = regexp.MustCompile("`([^`]*)`")

func (f *flagText) text() string {
	usage, env, _ := strings.Cut(f.usage, " [$") // the variables are last
	if f.standard != "" {
		usage += " (default: " + f.standard + ")"
	}
	if env != "" {
		usage += " [$" + strings.ReplaceAll(env, ", ", ",") // without blanks, so that folding does not part them
	}
	return usage
}

func newFlagText(flag cli.DocGenerationFlag) *flagText {
	f := &flagText{name: flag.Names()[0], usage: term.Usage(flag.GetUsage())}
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

// splitFlags returns the flags of the command alone, and those of the settings that all commands share.
func splitFlags(c *cli.Command) (own, shared []*flagText) {
	for _, flag := range c.Flags {
		doc, ok := flag.(cli.DocGenerationFlag)
		if !ok || flag.Names()[0] == "help" {
			continue
		}
		if in, ok := flag.(cli.CategorizableFlag); ok && in.GetCategory() == setting.Shared {
			shared = append(shared, newFlagText(doc))
		} else {
			own = append(own, newFlagText(doc))
		}
	}
	return own, shared
}
