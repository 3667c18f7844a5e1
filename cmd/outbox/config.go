package main

import (
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
		Flags:       append(settingFlags(""), outputFlag()),
		Action:      withSettings("", configShow),
	}
}

type configLine struct {
	Setting string `json:"setting"` // its key in the file
	Value   string `json:"value"`
	Origin  string `json:"origin"`
}

func configShow(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	var lines []configLine
	var rows [][]string
	for _, entry := range settingTable {
		o := s.origin(entry.key())
		line := configLine{Setting: entry.key(), Value: redact(o.value), Origin: o.from}
		if entry.secret {
			line.Value = redactURL(o.value)
		}
		lines = append(lines, line)
		if line.Value == "" {
			line.Value = "-"
		}
		rows = append(rows, []string{line.Setting, line.Value, line.Origin})
	}
	if asJSON {
		return printJSON(c.App.Writer, lines)
	}
	return printTable(c.App.Writer, []string{"SETTING", "VALUE", "ORIGIN"}, rows)
}
