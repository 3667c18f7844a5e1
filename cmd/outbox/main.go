// Command outbox relays the events of a transactional outbox in PostgreSQL to NATS JetStream, deletes from Redis what
// they make stale, and shows, checks and repairs the whole.
//
// A file holds a verb or a part of one, such as dead.go and dead_list.go. A verb checks its flags, connects through a
// session, calls a library package and prints. Settings, connections, output, exit codes and help are in internal/cli;
// each verb is only flags and words around them.
//
// Data goes to standard output, everything else to standard error. Only this file catches signals and ends the process.
// Every command ends with one of the exit codes of package exit.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/app"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/help"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel() // finish what is in hand
		<-signals
		os.Exit(exit.Failed)
	}()
	os.Exit(run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// hangups delivers SIGHUP, which ends every other command, until forget is called.
func hangups() (signals <-chan os.Signal, forget func()) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGHUP)
	return ch, func() { signal.Stop(ch) }
}

// run is the whole program except for signals and the end of the process. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return app.Run(ctx, newApp(), args, stdin, stdout, stderr)
}

func newApp() *cli.App {
	return app.New(app.Program{
		Name:        "outbox",
		Usage:       "publish a transactional outbox from PostgreSQL to NATS JetStream, and invalidate Redis",
		Description: appDescription,
		Version:     readBuild().Version,
		Commands:    commands(),
		Categories:  categories,
		Elsewhere:   map[string]string{"demo": "outbox-dev demo", "servers": "outbox-dev servers"},
	})
}

func commands() []*cli.Command {
	return []*cli.Command{
		migrateCommand(), adoptCommand(), rolesCommand(), attachCommand(), detachCommand(),
		relayCommand(), invalidateCommand(), pauseCommand(), resumeCommand(), rulesCommand(), sweepCommand(),
		replayCommand(), backfillCommand(), jobsCommand(), partitionsCommand(), pruneCommand(),
		statusCommand(), checkCommand(), auditCommand(), traceCommand(), topCommand(), stalenessCommand(), deadCommand(), doctorCommand(), benchCommand(),
		configCommand(), completionCommand(), manCommand(), versionCommand(),
	}
}

const appDescription = `To begin: outbox migrate up creates the tables, outbox attach captures the changes of a table as events (or insert
events in your transactions), outbox relay publishes them, and outbox invalidate deletes from Redis what they make stale.
outbox doctor checks all three servers.

All parameters are flags; there are no positional arguments. A setting comes from its flag, else from its environment
variable, else from the file of --config (outbox config init creates one), else it has its default. outbox config show
prints the origin of each. An empty variable counts as not set.

Exit codes: 0 ok, 1 failed, 2 usage error, 3 findings, 69 a server is not available.`

// categories group the commands in outbox --help and in the manual.
var categories = []help.Category{
	{Title: "Setting up", Commands: []string{"config", "migrate", "roles", "attach", "detach", "doctor"}},
	{Title: "Running", Commands: []string{"relay", "invalidate", "pause", "resume", "prune", "sweep"}},
	{Title: "Inspecting", Commands: []string{"status", "check", "top", "trace", "partitions", "staleness", "audit"}},
	{Title: "Repairing", Commands: []string{"dead", "replay", "backfill", "jobs", "adopt"}},
	{Title: "Rules", Commands: []string{"rules"}},
	{Title: "Other", Commands: []string{"bench", "completion", "man", "version"}},
}
