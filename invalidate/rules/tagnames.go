package rules

import (
	"slices"
	"strings"
)

// TagNames returns the tags that the rules can name: the names of tags without placeholders, and glob-style patterns, as the
// Redis command SCAN accepts them, for the others. Both are sorted. They do not include tags that an event names in a header.
func (r *Set) TagNames() (names, patterns []string) {
	for i := range r.rules {
		for k := range r.rules[i].tags {
			glob, fixed := r.rules[i].tags[k].glob()
			for _, prefix := range r.rules[i].prefixes {
				if fixed != "" {
					names = append(names, prefix+fixed)
				} else {
					patterns = append(patterns, escapeGlob(prefix)+glob)
				}
			}
		}
	}
	slices.Sort(names)
	slices.Sort(patterns)
	return slices.Compact(names), slices.Compact(patterns)
}

// glob returns a pattern that matches every key of the template, and the key itself if the template has no placeholder.
func (t *template) glob() (pattern, fixed string) {
	var b, text strings.Builder
	variable := false
	for i := range t.parts {
		if t.parts[i].from != fromLiteral {
			variable = true
			b.WriteByte('*')
			continue
		}
		text.WriteString(t.parts[i].text)
		b.WriteString(escapeGlob(t.parts[i].text))
	}
	if variable {
		return b.String(), ""
	}
	return b.String(), text.String()
}

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

func escapeGlob(text string) string { return globEscaper.Replace(text) }
