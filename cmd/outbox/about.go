package main

import (
	"embed"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/help"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/metrics"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

//go:embed completion/*.txt
var completionScripts embed.FS

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell", UsageText: "outbox completion --shell <bash|zsh|fish|powershell>",
		Description: `The script calls outbox, so it fits the version that is installed. Words that are neither a command nor a flag complete
as files.

Examples:
  source <(outbox completion --shell bash)
  outbox completion --shell zsh > _outbox
  outbox completion --shell fish > outbox.fish
  outbox completion --shell powershell | head -1`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "shell", Usage: "`NAME`: bash, zsh, fish or powershell (required)"}},
		Action: completion,
	}
}

func completion(c *cli.Context) error {
	if err := setting.Required(c, "shell"); err != nil {
		return err
	}
	shell := c.String("shell")
	if err := setting.OneOf("bash", "zsh", "fish", "powershell")(shell); err != nil {
		return exit.Usagef(c, "flag --shell: %w", err)
	}
	script, err := completionScripts.ReadFile("completion/" + shell + ".txt")
	if err != nil {
		return fmt.Errorf("read completion script: %w", err)
	}
	return printf(c.App.Writer, "%s", script)
}

func manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "print the manual page", UsageText: "outbox man",
		Description: `Prints one page for all commands and settings, in roff.

Examples:
  outbox man > outbox.1 && man ./outbox.1
  outbox man | gzip > outbox.1.gz`,
		Action: func(c *cli.Context) error {
			return printf(c.App.Writer, "%s", help.Manual(c.App, categories))
		},
	}
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version and what it was built with", UsageText: "outbox version [-o table|json]",
		Description: "Prints the build information that the Go tool wrote into the program.\n\nExample:\n  outbox version -o json",
		Flags:       []cli.Flag{term.OutputFlag()},
		Action:      printVersion,
	}
}

// A build is the build information that the Go tool wrote into this program.
type build struct {
	Version  string            `json:"version"`
	Revision string            `json:"revision,omitempty"`
	Go       string            `json:"go"`
	Modules  map[string]string `json:"modules"`
}

// shownModules are the modules whose versions a bug report needs.
var shownModules = []string{"github.com/jackc/pgx/v5", "github.com/nats-io/nats.go", "github.com/redis/go-redis/v9"}

func readBuild() build {
	b := build{Version: "(unknown)", Modules: map[string]string{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	for _, m := range info.Deps {
		if slices.Contains(shownModules, m.Path) {
			b.Modules[m.Path] = m.Version
		}
	}
	return b
}

func printVersion(c *cli.Context) error {
	s := &session{c: c, json: c.String("output") == "json"}
	b := readBuild()
	return s.print(b, func(w io.Writer) error {
		rows := [][]string{{"outbox", b.Version}}
		if b.Revision != "" {
			rows = append(rows, []string{"revision", b.Revision})
		}
		rows = append(rows, []string{"go", b.Go})
		for _, path := range slices.Sorted(maps.Keys(b.Modules)) {
			rows = append(rows, []string{path, b.Modules[path]})
		}
		return term.Table(w, nil, rows)
	})
}

// buildInfo is the build as a metric.
func buildInfo() prometheus.Collector {
	b := readBuild()
	return metrics.Build(b.Version, b.Revision, b.Go)
}
