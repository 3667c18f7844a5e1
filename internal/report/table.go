package report

import (
	"fmt"
	"strings"
)

// A Table is a Markdown table.
type Table struct{ text strings.Builder }

// NewTable returns a table without rows. align has a letter for each column: l aligns it to the left, r to the right.
func NewTable(align string, headers ...string) *Table {
	t := &Table{}
	cells := make([]any, len(headers))
	for i, header := range headers {
		cells[i] = header
	}
	t.Row(cells...)
	t.text.WriteString("|")
	for _, letter := range align {
		t.text.WriteString(map[rune]string{'l': "---|", 'r': "--:|"}[letter])
	}
	t.text.WriteString("\n")
	return t
}

// Row adds a row.
func (t *Table) Row(cells ...any) {
	t.text.WriteString("|")
	for _, cell := range cells {
		fmt.Fprintf(&t.text, " %v |", cell)
	}
	t.text.WriteString("\n")
}

// String returns the table, which ends with a line feed.
func (t *Table) String() string { return t.text.String() }
