package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// explain is outbox invalidate --explain: what the rules make of one event.
func explain(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if err := required(c, "subject"); err != nil {
		return err
	}
	set, err := readRules(s)
	if err != nil {
		return err
	}
	e := outbox.Event{Subject: c.String("subject"), Key: c.String("key"), Payload: []byte(c.String("payload"))}
	if op := c.String("op"); op != "" {
		if err := oneOf("insert", "update", "delete")(op); err != nil {
			return usagef(c, "flag --op %q: %w", op, err)
		}
		e.Headers = map[string]string{outbox.HeaderOp: op}
	}
	if err := e.Validate(); err != nil {
		return usagef(c, "%w", err)
	}
	told := set.Explain(&e)
	if asJSON {
		return printJSON(c.App.Writer, told)
	}
	var rows [][]string
	for _, m := range told.Matched {
		for _, key := range m.Keys {
			rows = append(rows, []string{fmt.Sprint(m.Rule), m.Subject, key})
		}
		if m.Error != "" {
			rows = append(rows, []string{fmt.Sprint(m.Rule), m.Subject, "error: " + m.Error})
		}
	}
	if err := printTable(c.App.Writer, []string{"RULE", "SUBJECT", "DELETES"}, rows); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.ErrWriter, "%d of %d rules match, %d keys\n", len(told.Matched), told.Rules, told.Keys)
	return err
}
