package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// explain is outbox rules explain, and outbox invalidate --explain: what the rules make of one event.
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
	e, err := explainedEvent(c)
	if err != nil {
		return err
	}
	told := set.Explain(e)
	if asJSON {
		return printJSON(c.App.Writer, told)
	}
	if err := printTable(c.App.Writer, []string{"RULE", "SUBJECT", "DELETES", "ECHO"}, explanationRows(&told)); err != nil {
		return err
	}
	matched := make(map[int]bool)
	for _, m := range told.Matched {
		matched[m.Rule] = true
	}
	_, err = fmt.Fprintf(c.App.ErrWriter, "%d of %d rules match, %d keys, %d tags\n", len(matched), told.Rules, told.Keys, told.Tags)
	return err
}

// explainedEvent is the event of the flags.
func explainedEvent(c *cli.Context) (*event.Event, error) {
	e := &event.Event{Subject: c.String("subject"), Key: c.String("key"), Payload: []byte(c.String("payload"))}
	e.Headers = make(map[string]string)
	if headers, ok := c.Generic("header").(*headerList); ok {
		for _, h := range *headers {
			e.Headers[h.name] = h.value
		}
	}
	if op := c.String("op"); op != "" {
		if err := oneOf("insert", "update", "delete")(op); err != nil {
			return nil, usagef(c, "flag --op %q: %w", op, err)
		}
		e.Headers[event.HeaderOp] = op
	}
	if err := e.Validate(); err != nil {
		return nil, usagef(c, "%w", err)
	}
	return e, nil
}

func explanationRows(told *rules.Explanation) (rows [][]string) {
	for _, m := range told.Matched {
		rule, echo := fmt.Sprint(m.Rule), or(strings.Join(m.Echo, " "), "off")
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

// headerList is a flag that can be there again and again: --header Name=Value. Slices of the library split at commas.
type headerList []struct{ name, value string }

func (l *headerList) Set(text string) error {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return fmt.Errorf("want Name=Value")
	}
	*l = append(*l, struct{ name, value string }{name, value})
	return nil
}

func (l *headerList) String() string { return "" }
