// Package app makes a program of commands: what --help prints, what a command line may hold, and how an error ends the
// program. The programs outbox and outbox-dev consist of it and their commands.
//
// A command has flags only. A positional argument is a usage error, because the flag parser ignores flags after one.
package app

import (
	"context"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/help"
)

// A Program is what New makes a cli.App of.
type Program struct {
	Name        string
	Usage       string // one line
	Description string
	Version     string
	Commands    []*cli.Command
	Categories  []help.Category
	Elsewhere   map[string]string // commands that another program has, with that program's command line
}

// New returns the application. Run runs it.
func New(p Program) *cli.App {
	group := group(p.Elsewhere)
	app := &cli.App{
		Name:                 p.Name,
		HelpName:             p.Name,
		Usage:                p.Usage,
		UsageText:            p.Name + " <command> [flags]",
		Description:          p.Description,
		Version:              p.Version,
		EnableBashCompletion: true,
		// Names and headers may have commas; a list is a flag given more than once.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // Run does it
		OnUsageError:              exit.OnUsageError,
		Action:                    group,
		Commands:                  p.Commands,
	}
	for _, c := range app.Commands {
		prepare(c, group)
	}
	help.Prepare(app, p.Categories)
	return app
}

// Run runs the program with args, of which the first is its own name, and returns its exit code. Commands see that ctx
// has ended and stop.
func Run(ctx context.Context, app *cli.App, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer exit.Crash(stderr, app.Name, &code)
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	return exit.Report(stderr, app.Name, app.RunContext(ctx, args))
}

// prepare gives a command and those below it the behavior that every command has.
func prepare(c *cli.Command, group cli.ActionFunc) {
	c.OnUsageError = exit.OnUsageError
	c.HideHelpCommand = true
	if len(c.Subcommands) > 0 {
		c.Action = group
	} else {
		c.Action = Leaf(c.Action)
	}
	for _, sub := range c.Subcommands {
		prepare(sub, group)
	}
}

// group is the action of a command that only has others below it. It runs if the command line names none of them.
func group(elsewhere map[string]string) cli.ActionFunc {
	return func(c *cli.Context) error {
		isApp := c.Command.HelpName == c.App.HelpName
		word := c.Args().First()
		line, ok := elsewhere[word]
		switch {
		case isApp && ok:
			return exit.Usagef(c, "unknown command %q; run: %s", word, line)
		case word != "":
			return exit.Usagef(c, "unknown command %q%s", word, exit.Suggest(word, Names(c.Command.Subcommands)))
		case isApp:
			return cli.ShowAppHelp(c)
		}
		return exit.Usagef(c, "missing command; want one of: %s", strings.Join(Names(c.Command.Subcommands), ", "))
	}
}

// Leaf makes the action of a command without others below it: it refuses positional arguments, and adds to a usage
// error the command that it belongs to.
func Leaf(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if word := c.Args().First(); word != "" {
			return exit.Usagef(c, "%q is not a flag; there are no positional arguments, and flags after one would be ignored", word)
		}
		return exit.OfCommand(c.Command.HelpName, action(c))
	}
}

// Names returns the names of commands.
func Names(commands []*cli.Command) []string {
	var out []string
	for _, c := range commands {
		out = append(out, c.Name)
	}
	return out
}
