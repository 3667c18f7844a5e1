package main

import (
	"context"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

func rulesTestCommand() *cli.Command {
	return &cli.Command{
		Name: "test", Usage: "test rules with examples of events", UsageText: "outbox rules test --rules <file> --examples <file> [-o json]",
		Description: `An example is an event with exactly the keys and tags that the rules must name for it. Exits 0 if all examples pass, 3
with the missing and unexpected names if one fails, and 1 with line and column if a file is invalid.

Example:
  outbox rules test --rules rules.yaml --examples examples.yaml`,
		Flags: rulesFlags(
			&cli.StringFlag{Name: "examples", Usage: "`FILE` with examples (YAML, required)"},
			term.OutputFlag()),
		Action: action("invalidate", rulesTest),
	}
}

type rulesTestJSON struct {
	OK       bool                `json:"ok"`
	Examples int                 `json:"examples"`
	Failed   []failedExampleJSON `json:"failed"`
}

type failedExampleJSON struct {
	Name string `json:"name"`
	At   string `json:"at"`
	rules.Difference
}

func rulesTest(ctx context.Context, s *session) error {
	if err := setting.Required(s.c, "examples"); err != nil {
		return err
	}
	set, err := parseRules(s.set)
	if err != nil {
		return err
	}
	path := s.c.String("examples")
	data, err := os.ReadFile(path)
	if err != nil {
		return exit.Usagef(s.c, "read examples: %w", err)
	}
	examples, err := rules.ParseExamples(path, data)
	if err != nil {
		return err
	}
	out := rulesTestJSON{Examples: len(examples), Failed: []failedExampleJSON{}}
	for i := range examples {
		if d := set.Check(&examples[i]); !d.Holds() {
			out.Failed = append(out.Failed, failedExampleJSON{examples[i].Name, examples[i].At, d})
		}
	}
	out.OK = len(out.Failed) == 0
	if err := s.print(out, func(w io.Writer) error { return printFailedExamples(w, out.Failed) }); err != nil {
		return err
	}
	if !out.OK {
		return exit.Findingsf("%d of %d examples failed", len(out.Failed), out.Examples)
	}
	s.notef("%d examples passed\n", out.Examples)
	return nil
}

// printFailedExamples prints for each example the names that the rules lack (-) and those that are unexpected (+).
func printFailedExamples(w io.Writer, failed []failedExampleJSON) error {
	for i := range failed {
		f := &failed[i]
		if err := printf(w, "%s: %s\n", f.At, term.Plain(f.Name)); err != nil {
			return err
		}
		var rows [][]string
		for _, part := range []struct {
			sign, what string
			names      []string
		}{
			{"-", "missing key", f.MissingKeys}, {"+", "unexpected key", f.UnexpectedKeys},
			{"-", "missing tag", f.MissingTags}, {"+", "unexpected tag", f.UnexpectedTags},
		} {
			for _, name := range part.names {
				rows = append(rows, []string{"  " + part.sign, part.what, term.Plain(name)})
			}
		}
		if f.Poison != "" {
			rows = append(rows, []string{"  !", f.Poison})
		}
		if err := term.Table(w, nil, rows); err != nil {
			return err
		}
	}
	return nil
}
