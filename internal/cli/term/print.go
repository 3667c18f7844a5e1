// Package term writes what a person or a script reads: tables and JSON on standard output, progress and logs on
// standard error. It also prepares text from events and servers so that it cannot move the cursor or break a table.
package term

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

// OutputFlag is -o with these formats, of which the first is the default; without any, table and json. It refuses other
// formats before the command runs.
func OutputFlag(formats ...string) cli.Flag {
	if len(formats) == 0 {
		formats = []string{"table", "json"}
	}
	last := len(formats) - 1
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, Value: formats[0],
		Usage: "`FORMAT`: " + strings.Join(formats[:last], ", ") + " or " + formats[last],
		Action: func(c *cli.Context, format string) error {
			if slices.Contains(formats, format) {
				return nil
			}
			return exit.Usagef(c, "flag --output: want %s, got %q%s", strings.Join(formats, " or "), format, exit.Suggest(format, formats))
		},
	}
}

// JSON prints a value, indented and without escapes of HTML.
func JSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// Table aligns rows in columns. header may be nil. Line breaks inside a cell become blanks.
func Table(w io.Writer, header []string, rows [][]string) error {
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

// IsTerminal returns v as a file if it is one that is connected to a terminal.
func IsTerminal(v any) (*os.File, bool) {
	file, ok := v.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}
