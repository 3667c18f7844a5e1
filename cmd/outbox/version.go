package main

import (
	"maps"
	"runtime/debug"
	"slices"

	"github.com/urfave/cli/v2"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version and what it was built with", UsageText: "outbox version [-o table|json]",
		Description: "Reads what the Go tool wrote into the program.\n\nExample:\n  outbox version -o json",
		Flags:       []cli.Flag{outputFlag()},
		Action:      printVersion,
	}
}

// A build is what the Go tool wrote into this program.
type build struct {
	Version  string            `json:"version"`
	Revision string            `json:"revision,omitempty"`
	Go       string            `json:"go"`
	Modules  map[string]string `json:"modules"`
}

var toldModules = []string{"github.com/jackc/pgx/v5", "github.com/nats-io/nats.go", "github.com/redis/go-redis/v9"}

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
		if slices.Contains(toldModules, m.Path) {
			b.Modules[m.Path] = m.Version
		}
	}
	return b
}

func printVersion(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	b := readBuild()
	if asJSON {
		return printJSON(c.App.Writer, b)
	}
	rows := [][]string{{"outbox", b.Version}}
	if b.Revision != "" {
		rows = append(rows, []string{"revision", b.Revision})
	}
	rows = append(rows, []string{"go", b.Go})
	for _, path := range slices.Sorted(maps.Keys(b.Modules)) {
		rows = append(rows, []string{path, b.Modules[path]})
	}
	return printTable(c.App.Writer, nil, rows)
}
