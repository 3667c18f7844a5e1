package setting

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

const initialHead = `# Settings of outbox, each at its default. You may remove any of them.
#
# A flag overrides its environment variable, which overrides this file; outbox config show prints the origin of each setting.
# ${NAME} in a value is an environment variable: keep passwords there, or in the files that *_password_file names. A list is
# [a, b] or a,b. To check this file: outbox config validate --config FILE. For editors: outbox config schema.
`

// InitialFile is a settings file with every setting at its default, each with a comment.
func InitialFile() string {
	var b strings.Builder
	b.WriteString(initialHead) //nolint:errcheck // a Builder never fails
	part := ""
	for _, s := range table {
		indent := ""
		if s.section != "" {
			indent = "  "
		}
		if title := s.part(); title != part {
			part = title
			fmt.Fprintf(&b, "\n# %s\n", title)
			if s.section != "" {
				fmt.Fprintf(&b, "%s:\n", s.section)
			}
		}
		for _, line := range term.Fold(s.plainUsage(), 110-len(indent)) {
			fmt.Fprintf(&b, "%s# %s\n", indent, line)
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, strings.TrimPrefix(s.Key(), s.section+"."), yamlText(s.value))
	}
	return b.String()
}

// part is the title of the group of a setting in the file.
func (s *Setting) part() string {
	if s.section != "" {
		return "outbox " + s.section
	}
	server, _, _ := strings.Cut(s.name, "-")
	if title, ok := map[string]string{"database": "PostgreSQL", "nats": "NATS", "redis": "Redis"}[server]; ok {
		return title
	}
	return "All commands"
}

// bareText matches values that need no quotes in YAML.
var bareText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./,:@>*-]*$`)

func yamlText(value string) string {
	if !bareText.MatchString(value) || value == "on" || value == "off" { // booleans in YAML 1.1
		return strconv.Quote(value)
	}
	return value
}
