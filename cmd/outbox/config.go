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

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "create, check and show settings", UsageText: "outbox config <init|validate|show|schema> [flags]",
		Description: `A setting comes from its flag, else from its environment variable, else from the file of --config, else it has its
default. One file can contain the settings of all commands; those of relay and invalidate have a section each.

Examples:
  outbox config init --file outbox.yaml
  outbox config validate --config outbox.yaml
  outbox config show --config outbox.yaml`,
		Subcommands: []*cli.Command{configInitCommand(), configValidateCommand(), configShowCommand(), configSchemaCommand()},
	}
}

func configShowCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "print each setting with its value and origin", UsageText: "outbox config show [flags]",
		Description: "Connects to no server. Passwords and tokens are hidden.\n\nExample:\n  outbox config show --config outbox.yaml -o json",
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
		Name: "init", Usage: "create a settings file with a comment on each setting", UsageText: "outbox config init [--file <file>] [--force]",
		Description: `Prints the file, or writes it with --file, readable only by its owner. Each setting has its default, so the file changes
nothing until you edit it. A setting that you remove from it keeps its default.

Examples:
  outbox config init > outbox.yaml
  outbox config init --file outbox.yaml --force`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "`FILE` to write, instead of standard output"},
			&cli.BoolFlag{Name: "force", Usage: "replace an existing file"},
		},
		Action: configInit,
	}
}

func configInit(c *cli.Context) error {
	path := c.String("file")
	if path == "" {
		if c.Bool("force") {
			return exit.Usagef(c, "flag --force requires --file")
		}
		_, err := fmt.Fprint(c.App.Writer, setting.InitialFile())
		return err
	}
	if err := writeOnce(path, setting.InitialFile(), c.Bool("force")); errors.Is(err, fs.ErrExist) {
		return exit.Usagef(c, "%s exists; to replace it, add --force", path)
	} else if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	_, err := fmt.Fprintf(c.App.ErrWriter, "wrote %s; next: edit it, then outbox config validate --config %s\n", path, path)
	return err
}

// writeOnce writes a file that only its owner can read. It writes the whole file or none.
func writeOnce(path, content string, replace bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it no longer exists after a rename
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		return os.Rename(f.Name(), path)
	}
	return os.Link(f.Name(), path) // fails if path exists
}

func configSchemaCommand() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON Schema of a settings file", UsageText: "outbox config schema",
		Description: `For editors and other tools. It checks less than outbox config validate: values that contradict each other, for example,
are not checked.

Example:
  outbox config schema > outbox.schema.json`,
		Action: func(c *cli.Context) error { return term.JSON(c.App.Writer, setting.Schema()) },
	}
}
