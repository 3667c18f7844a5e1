package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

func rulesCommand() *cli.Command {
	return &cli.Command{
		Name: "rules", Usage: "check a file of rules, try it on events, test it", UsageText: "outbox rules <check|explain|test|schema> [flags]",
		Description: `Needs no server. What a file of rules can say is in docs/rules.md.

Examples:
  outbox rules check --rules rules.yaml
  outbox rules explain --rules rules.yaml --subject users.42.updated --payload '{"team":7}'
  outbox rules test --rules rules.yaml --examples examples.yaml`,
		Subcommands: []*cli.Command{rulesCheckCommand(), rulesExplainCommand(), rulesTestCommand(), rulesSchemaCommand()},
	}
}

// rulesFlags are those of a command that reads rules and asks no server, and more.
func rulesFlags(more ...cli.Flag) (flags []cli.Flag) {
	for _, f := range settingFlags("invalidate", "rules") {
		if name := f.Names()[0]; name == "rules" || name == "config" {
			flags = append(flags, f)
		}
	}
	return append(flags, more...)
}

// parseRules reads the rules where they are what is asked about: a mistake in them is no mistake of the command line.
func parseRules(s settings) (*rules.Set, error) {
	path := s.text("invalidate.rules")
	if path == "" {
		return nil, usagef(nil, "--rules missing")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef(nil, "read rules: %w", err)
	}
	return rules.Parse(path, data)
}

func rulesCheckCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "check a file of rules", UsageText: "outbox rules check --rules <file> [-o json]",
		Description: `Exits 0 if the file is right, and 1 with line and column if it is not. Subjects are those that the consumer will be
filtered by: > is the whole stream, which it reads if subjects of the rules overlap and neither covers the other.

Example:
  outbox rules check --rules rules.yaml`,
		Flags:  rulesFlags(outputFlag()),
		Action: withSettings("invalidate", rulesCheck),
	}
}

type rulesCheckJSON struct {
	OK       bool     `json:"ok"`
	Rules    int      `json:"rules"`
	Subjects []string `json:"subjects"`
	Echo     []string `json:"echo"`
	Error    string   `json:"error,omitempty"`
}

func rulesCheck(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	set, err := parseRules(s)
	if err != nil {
		if asJSON && code(err) == exitFailed {
			wrong := rulesCheckJSON{Subjects: []string{}, Echo: []string{}, Error: err.Error()}
			err = errors.Join(err, printJSON(c.App.Writer, wrong))
		}
		return err
	}
	told := rulesCheckJSON{OK: true, Rules: set.Len(), Subjects: set.Subjects(), Echo: set.EchoTexts()}
	if told.Subjects == nil {
		told.Subjects = []string{">"}
	}
	if asJSON {
		return printJSON(c.App.Writer, told)
	}
	_, err = fmt.Fprintf(c.App.Writer, "%d rules, %d subjects, echo %s\n", told.Rules, len(told.Subjects), or(strings.Join(told.Echo, " "), "off"))
	return err
}

func rulesExplainCommand() *cli.Command {
	return &cli.Command{
		Name: "explain", Usage: "print what one event would delete", UsageText: "outbox rules explain --rules <file> --subject <subject> [flags]",
		Description: `Prints the keys, and the tags whose members would be deleted, by rule. So does outbox invalidate --explain.

Examples:
  outbox rules explain --rules rules.yaml --subject users.42.updated --payload '{"team":7}' -o json
  outbox rules explain --rules rules.yaml --subject imports.1 --header 'Cache-Keys=user:1 user:2' --header Tenant=a`,
		Flags: rulesFlags(
			&cli.StringFlag{Name: "subject", Usage: "`SUBJECT` of the event (required)"},
			&cli.StringFlag{Name: "payload", Usage: "`JSON` of the event"},
			&cli.StringFlag{Name: "key", Usage: "`KEY` of the event"},
			&cli.StringFlag{Name: "op", Usage: "`OPERATION` that a capture trigger noted: insert, update or delete"},
			&cli.GenericFlag{Name: "header", Value: &headerList{}, Usage: "header `NAME=VALUE` of the event, can be there several times"},
			outputFlag()),
		Action: withSettings("invalidate", explain),
	}
}

func rulesSchemaCommand() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON Schema of a file of rules", UsageText: "outbox rules schema",
		Description: `For editors and other tools. It knows less than outbox rules check: nothing of templates, for example.

Example:
  outbox rules schema > rules.schema.json`,
		Action: func(c *cli.Context) error {
			_, err := c.App.Writer.Write(rules.Schema)
			return err
		},
	}
}
