// Command outbox relays the events of a transactional outbox in PostgreSQL to NATS JetStream and deletes from
// Redis what they make stale.
//
// Each file holds one verb: it reads flags, builds the configuration of a library package, calls it and prints.
// Only this file catches signals and ends the process. Data goes to standard output, everything else to standard
// error. Every command ends with one of the exit codes in exit.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel() // finish what is in hand
		<-signals
		os.Exit(exitFailed)
	}()
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// hangups delivers SIGHUP, which ends every other command, until forget is called.
func hangups() (signals <-chan os.Signal, forget func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGHUP)
	return ch, func() { signal.Stop(ch) }
}

// run is the whole program but for signals and the end of the process; it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer crash(stderr, &code)
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	return report(stderr, app.RunContext(ctx, args))
}

// crash, deferred, reports a panic as the runtime would, but for what must not be printed, and with a code that is not
// that of a usage error.
func crash(stderr io.Writer, code *int) {
	if v := recover(); v != nil {
		fmt.Fprintf(stderr, "outbox: panic: %s\n\n%s", redact(fmt.Sprint(v)), redact(string(debug.Stack())))
		*code = exitFailed
	}
}

func newApp() *cli.App {
	app := &cli.App{
		Name:                 "outbox",
		HelpName:             "outbox",
		Usage:                "transactional outbox: PostgreSQL to NATS JetStream, Redis invalidation",
		UsageText:            "outbox <command> [flags]",
		Description:          appDescription,
		Version:              readBuild().Version,
		EnableBashCompletion: true,
		// Names and headers may have commas; a list is a flag given more than once.
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // errors become exit codes once, in report
		OnUsageError:              onUsageError,
		Action:                    group,
		Commands:                  commands(),
	}
	for _, c := range app.Commands {
		prepare(app.Name, c)
	}
	app.CustomAppHelpTemplate = literal(appHelp(app))
	return app
}

func commands() []*cli.Command {
	return []*cli.Command{
		migrateCommand(), adoptCommand(), rolesCommand(), attachCommand(), detachCommand(),
		relayCommand(), invalidateCommand(), pauseCommand(), resumeCommand(), rulesCommand(), sweepCommand(),
		replayCommand(), backfillCommand(), jobsCommand(), partitionsCommand(), pruneCommand(),
		statusCommand(), checkCommand(), auditCommand(), traceCommand(), topCommand(), stalenessCommand(), deadCommand(), doctorCommand(), demoCommand(), benchCommand(),
		configCommand(), completionCommand(), manCommand(), versionCommand(),
	}
}

const appDescription = `New here: outbox demo shows it all. Then outbox migrate up, outbox attach (or insert events in your transactions), outbox
relay and outbox invalidate, and outbox doctor says what is not right.

Flags only, no positional arguments. A setting comes from its flag, else its environment variable, else the file of
--config (outbox config init makes one), else its default; outbox config show tells which. An empty variable counts as not set.

Exit codes: 0 ok, 1 failed, 2 usage, 3 findings, 69 a server is unavailable.`

// prepare gives a command and those below it what every command has.
func prepare(parent string, c *cli.Command) {
	path := parent + " " + c.Name
	c.OnUsageError = onUsageError
	c.HideHelpCommand = true
	if len(c.Subcommands) > 0 {
		c.Action = group
	} else {
		c.Action = leaf(c.Action)
	}
	c.CustomHelpTemplate = literal(commandHelp(path, c))
	for _, sub := range c.Subcommands {
		prepare(path, sub)
	}
}

// group is what a command does that only holds others: reached when none of them was named.
func group(c *cli.Context) error {
	if word := c.Args().First(); word != "" {
		return usagef(c, "unknown command %q%s", word, suggest(word, names(c.Command.Subcommands)))
	}
	if c.Command.HelpName == c.App.HelpName {
		return cli.ShowAppHelp(c)
	}
	return usagef(c, "a command is missing: %s", strings.Join(names(c.Command.Subcommands), ", "))
}

// leaf refuses leftovers, and says of a usage error which command it belongs to.
func leaf(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if word := c.Args().First(); word != "" {
			return usagef(c, "%q is not a flag: there are no positional arguments, and flags behind one would be ignored", word)
		}
		err := action(c)
		if usage, ok := errors.AsType[*usageError](err); ok && usage.command == "" {
			usage.command = c.Command.HelpName
		}
		return err
	}
}

func names(commands []*cli.Command) []string {
	var out []string
	for _, c := range commands {
		out = append(out, c.Name)
	}
	return out
}
