package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/urfave/cli/v2"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "write, check and show the file of settings", UsageText: "outbox config <init|validate|show|schema> [flags]",
		Description: `A setting comes from its flag, else its environment variable, else the file of --config, else its default. One file can
hold the settings of every command, those of relay and invalidate in sections of their own.

Examples:
  outbox config init --file outbox.yaml
  outbox config validate --config outbox.yaml
  outbox config show --config outbox.yaml`,
		Subcommands: []*cli.Command{configInitCommand(), configValidateCommand(), configShowCommand(), configSchemaCommand()},
	}
}

func configShowCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "print every setting with its value and where it came from", UsageText: "outbox config show [flags]",
		Description: "Needs no server. Passwords and tokens are hidden.\n\nExample:\n  outbox config show --config outbox.yaml -o json",
		Flags:       append(setting.Flags(""), term.OutputFlag()),
		Action:      action("", configShow),
	}
}

type configLine struct {
	Setting string `json:"setting"` // its key in the file
	Value   string `json:"value"`
	Origin  string `json:"origin"`
}

func configShow(_ context.Context, s *session) error {
	var lines []configLine
	var rows [][]string
	for _, entry := range setting.All() {
		o := s.set.Origin(entry.Key())
		line := configLine{Setting: entry.Key(), Value: redact.Text(o.Value), Origin: o.From}
		if entry.Secret() {
			line.Value = redact.URL(o.Value)
		}
		lines = append(lines, line)
		rows = append(rows, []string{line.Setting, cmp.Or(line.Value, "-"), line.Origin})
	}
	return s.print(lines, func(w io.Writer) error {
		return term.Table(w, []string{"SETTING", "VALUE", "ORIGIN"}, rows)
	})
}

func configInitCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "print a file of settings with all of them, explained", UsageText: "outbox config init [--file <file>] [--force]",
		Description: `Every setting is there at its default, so the file changes nothing until it is edited. What is removed from it keeps its
default. --file writes it, readable by its owner alone, and refuses to replace a file.

Examples:
  outbox config init > outbox.yaml
  outbox config init --file outbox.yaml --force`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "`FILE` to write, instead of standard output"},
			&cli.BoolFlag{Name: "force", Usage: "replace the file"},
		},
		Action: configInit,
	}
}

func configInit(c *cli.Context) error {
	path := c.String("file")
	if path == "" {
		if c.Bool("force") {
			return exit.Usagef(c, "flag --force goes with --file")
		}
		_, err := fmt.Fprint(c.App.Writer, setting.InitialFile())
		return err
	}
	if err := writeOnce(path, setting.InitialFile(), c.Bool("force")); errors.Is(err, fs.ErrExist) {
		return exit.Usagef(c, "%s exists; --force replaces it", path)
	} else if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	_, err := fmt.Fprintf(c.App.ErrWriter, "wrote %s; next: edit it, then outbox config validate --config %s\n", path, path)
	return err
}

// writeOnce writes a file that its owner alone can read, whole or not at all.
func writeOnce(path, content string, replace bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone once it was renamed
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		return os.Rename(f.Name(), path)
	}
	return os.Link(f.Name(), path) // refuses one that exists
}

func configSchemaCommand() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON Schema of the file of settings", UsageText: "outbox config schema",
		Description: `For editors and other tools. It knows less than outbox config validate: nothing of values that contradict each other,
for example.

Example:
  outbox config schema > outbox.schema.json`,
		Action: func(c *cli.Context) error { return term.JSON(c.App.Writer, setting.Schema()) },
	}
}
