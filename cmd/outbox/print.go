package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
)

// outputFlag is -o of the commands that read something.
func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT`: table or json"}
}

// wantsJSON checks -o, which a command does before it asks any server.
func wantsJSON(c *cli.Context) (bool, error) {
	format := c.String("output")
	if err := oneOf("table", "json")(format); err != nil {
		return false, usagef(c, "flag --output %q: %w", format, err)
	}
	return format == "json", nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// printTable aligns rows in columns; header may be nil. Line breaks inside a cell become blanks.
func printTable(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if header != nil {
		rows = append([][]string{header}, rows...)
	}
	for _, row := range rows {
		line := strings.NewReplacer("\n", " ", "\r", " ").Replace(strings.Join(row, "\t"))
		if _, err := fmt.Fprintln(t, strings.TrimRight(line, "\t ")); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// stamp is a time for people, to the second.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}
