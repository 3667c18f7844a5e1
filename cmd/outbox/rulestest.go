package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

func rulesTestCommand() *cli.Command {
	return &cli.Command{
		Name: "test", Usage: "check rules against examples of events", UsageText: "outbox rules test --rules <file> --examples <file> [-o json]",
		Description: `An example is an event and exactly the keys and tags that the rules have to name for it. Exits 0 if all examples hold,
3 if one does not, with what is missing and what is too much, and 1 if a file is wrong, with line and column.

Example:
  outbox rules test --rules rules.yaml --examples examples.yaml`,
		Flags: rulesFlags(
			&cli.StringFlag{Name: "examples", Usage: "`FILE` of examples (YAML, required)"},
			outputFlag()),
		Action: withSettings("invalidate", rulesTest),
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

func rulesTest(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if err := required(c, "examples"); err != nil {
		return err
	}
	set, err := parseRules(s)
	if err != nil {
		return err
	}
	path := c.String("examples")
	data, err := os.ReadFile(path)
	if err != nil {
		return usagef(c, "read examples: %w", err)
	}
	examples, err := rules.ParseExamples(path, data)
	if err != nil {
		return err
	}
	told := rulesTestJSON{Examples: len(examples), Failed: []failedExampleJSON{}}
	for i := range examples {
		if d := set.Check(&examples[i]); !d.Holds() {
			told.Failed = append(told.Failed, failedExampleJSON{examples[i].Name, examples[i].At, d})
		}
	}
	told.OK = len(told.Failed) == 0
	if asJSON {
		err = printJSON(c.App.Writer, told)
	} else {
		err = printFailedExamples(c.App.Writer, told.Failed)
	}
	if err != nil {
		return err
	}
	if !told.OK {
		return findings("%d of %d examples do not hold", len(told.Failed), told.Examples)
	}
	_, err = fmt.Fprintf(c.App.ErrWriter, "%d examples hold\n", told.Examples)
	return err
}

// printFailedExamples prints of each what the rules lack (-) and what they have too much (+).
func printFailedExamples(w io.Writer, failed []failedExampleJSON) error {
	for i := range failed {
		f := &failed[i]
		if _, err := fmt.Fprintf(w, "%s: %s\n", f.At, plain(f.Name)); err != nil {
			return fmt.Errorf("print: %w", err)
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
				rows = append(rows, []string{"  " + part.sign, part.what, plain(name)})
			}
		}
		if f.Poison != "" {
			rows = append(rows, []string{"  !", f.Poison})
		}
		if err := printTable(w, nil, rows); err != nil {
			return err
		}
	}
	return nil
}
