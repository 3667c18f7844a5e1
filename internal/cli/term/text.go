package term

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Plain replaces control characters and invalid UTF-8 with ?, so that text from elsewhere cannot move the cursor of a
// terminal or break a table.
func Plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
}

// Clip shortens a text to at most n characters, the last of which is then an ellipsis.
func Clip(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// Usage is the usage of a flag as a text: its placeholder, between backquotes, becomes an ordinary word. A placeholder
// that is an abbreviation, such as URL or N, stays as it is.
func Usage(usage string) string {
	before, rest, ok := strings.Cut(usage, "`")
	placeholder, after, closed := strings.Cut(rest, "`")
	if !ok || !closed {
		return usage
	}
	if !slices.Contains([]string{"URL", "UUID", "ID", "JSON", "N", "NAME=VALUE"}, placeholder) {
		placeholder = strings.ToLower(placeholder)
	}
	return before + placeholder + after
}

// Fold breaks a text at blanks into lines of at most width characters. A longer word gets a line of its own.
func Fold(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// Time is a time to the second, in the zone of this machine; "never" for the zero time.
func Time(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// Age is the time since then: seconds, then minutes, then from two days on days. A time in the future is 0s.
func Age(since time.Time) string {
	d := max(time.Since(since), 0)
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Size is a number of bytes in a unit with one decimal, such as 3.5 MiB.
func Size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/unit, "KMGTPE"
	for value >= unit && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}
