package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func rulesCommand() *cli.Command {
	return &cli.Command{
		Name: "rules", Usage: "check rules, explain and test them without a server", UsageText: "outbox rules <check|explain|test|schema> [flags]",
		Description: `docs/rules.md describes the rules.

Examples:
  outbox rules check --rules rules.yaml
  outbox rules explain --rules rules.yaml --subject users.42.updated --payload '{"team":7}'
  outbox rules test --rules rules.yaml --examples examples.yaml`,
		Subcommands: []*cli.Command{rulesCheckCommand(), rulesExplainCommand(), rulesTestCommand(), rulesSchemaCommand()},
	}
}

// rulesFlags are the flags of a command that reads rules and connects to no server, and more.
func rulesFlags(more ...cli.Flag) (flags []cli.Flag) {
	for _, f := range setting.Flags("invalidate", "rules") {
		if name := f.Names()[0]; name == "rules" || name == "config" {
			flags = append(flags, f)
		}
	}
	return append(flags, more...)
}

// parseRules reads the rules of the settings. A mistake in them is not a usage error: it is what the command reports.
func parseRules(set *setting.Set) (*rules.Set, error) {
	path := set.Text("invalidate.rules")
	if path == "" {
		return nil, exit.Usagef(nil, "missing --rules")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, exit.Usagef(nil, "read rules: %w", err)
	}
	return rules.Parse(path, data)
}

func rulesCheckCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "check that rules are valid", UsageText: "outbox rules check --rules <file> [-o json]",
		Description: `Exits 0 if the file is valid, and 1 with line and column if it is not. The subjects that it prints are the filter of the
consumer. > is the whole stream, which the consumer reads if subjects of the rules overlap and none covers the other.

Example:
  outbox rules check --rules rules.yaml`,
		Flags:  rulesFlags(term.OutputFlag()),
		Action: action("invalidate", rulesCheck),
	}
}

type rulesCheckJSON struct {
	OK       bool     `json:"ok"`
	Rules    int      `json:"rules"`
	Subjects []string `json:"subjects"`
	Echo     []string `json:"echo"`
	Error    string   `json:"error,omitempty"`
}

func rulesCheck(_ context.Context, s *session) error {
	set, err := parseRules(s.set)
	if err != nil {
		if s.json && exit.Code(err) == exit.Failed {
			err = errors.Join(err, term.JSON(s.c.App.Writer, rulesCheckJSON{Subjects: []string{}, Echo: []string{}, Error: err.Error()}))
		}
		return err
	}
	out := rulesCheckJSON{OK: true, Rules: set.Len(), Subjects: set.Subjects(), Echo: set.EchoTexts()}
	if out.Subjects == nil {
		out.Subjects = []string{">"}
	}
	return s.print(out, func(w io.Writer) error {
		return printf(w, "%d rules, %d subjects, echo %s\n", out.Rules, len(out.Subjects), cmp.Or(strings.Join(out.Echo, " "), "off"))
	})
}

func rulesExplainCommand() *cli.Command {
	return &cli.Command{
		Name: "explain", Usage: "print what one event would delete", UsageText: "outbox rules explain --rules <file> --subject <subject> [flags]",
		Description: `Prints, for each rule that matches, the keys that it would delete and the tags whose members it would delete. The command
outbox invalidate --explain does the same.

Examples:
  outbox rules explain --rules rules.yaml --subject users.42.updated --payload '{"team":7}' -o json
  outbox rules explain --rules rules.yaml --subject imports.1 --header 'Cache-Keys=user:1 user:2' --header Tenant=a`,
		Flags: rulesFlags(
			&cli.StringFlag{Name: "subject", Usage: "`SUBJECT` of the event (required)"},
			&cli.StringFlag{Name: "payload", Usage: "`JSON` of the event"},
			&cli.StringFlag{Name: "key", Usage: "`KEY` of the event"},
			&cli.StringFlag{Name: "op", Usage: "`OPERATION` of the capture trigger: insert, update or delete"},
			&cli.GenericFlag{Name: "header", Value: &headerList{}, Usage: "header `NAME=VALUE` of the event; may be given more than once"},
			term.OutputFlag()),
		Action: action("invalidate", explain),
	}
}

func rulesSchemaCommand() *cli.Command {
	return &cli.Command{
		Name: "schema", Usage: "print the JSON Schema of rules", UsageText: "outbox rules schema",
		Description: `For editors and other tools. It checks less than outbox rules check: templates, for example, are not checked.

Example:
  outbox rules schema > rules.schema.json`,
		Action: func(c *cli.Context) error { return printf(c.App.Writer, "%s", rules.Schema()) },
	}
}

// explain prints the effect of one event: outbox rules explain, and outbox invalidate --explain.
func explain(_ context.Context, s *session) error {
	if err := setting.Required(s.c, "subject"); err != nil {
		return err
	}
	set, err := readRules(s.set)
	if err != nil {
		return err
	}
	e, err := explainedEvent(s.c)
	if err != nil {
		return err
	}
	out := set.Explain(e)
	return s.print(out, func(w io.Writer) error {
		if err := term.Table(w, []string{"RULE", "SUBJECT", "DELETES", "ECHO"}, explanationRows(&out)); err != nil {
			return err
		}
		matched := make(map[int]bool)
		for _, m := range out.Matched {
			matched[m.Rule] = true
		}
		s.notef("%d of %d rules match, %d keys, %d tags\n", len(matched), out.Rules, out.Keys, out.Tags)
		return nil
	})
}

// explainedEvent is the event that the flags describe.
func explainedEvent(c *cli.Context) (*event.Event, error) {
	e := &event.Event{Subject: c.String("subject"), Key: c.String("key"), Payload: []byte(c.String("payload"))}
	e.Headers = make(map[string]string)
	if headers, ok := c.Generic("header").(*headerList); ok {
		for _, h := range *headers {
			e.Headers[h.name] = h.value
		}
	}
	if op := c.String("op"); op != "" {
		if err := setting.OneOf("insert", "update", "delete")(op); err != nil {
			return nil, exit.Usagef(c, "flag --op: %w", err)
		}
		e.Headers[event.HeaderOp] = op
	}
	if err := e.Validate(); err != nil {
		return nil, exit.Usagef(c, "%w", err)
	}
	return e, nil
}

func explanationRows(told *rules.Explanation) (rows [][]string) {
	for _, m := range told.Matched {
		rule, echo := fmt.Sprint(m.Rule), cmp.Or(strings.Join(m.Echo, " "), "off")
		for _, key := range m.Keys {
			rows = append(rows, []string{rule, m.Subject, key, echo})
		}
		for _, tag := range m.Tags {
			rows = append(rows, []string{rule, m.Subject, "members of " + tag, echo})
		}
		if m.Error != "" {
			rows = append(rows, []string{rule, m.Subject, "error: " + m.Error})
		}
	}
	return rows
}

// headerList is a flag that may be given more than once: --header Name=Value. The library's own would split values at
// commas.
type headerList []struct{ name, value string }

func (l *headerList) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return fmt.Errorf("want Name=Value, got %q", text)
	}
	*l = append(*l, struct{ name, value string }{name, value})
	return nil
}

func (l *headerList) String() string { return "" }
