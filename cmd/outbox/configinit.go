package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

func configInitCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "print a file of settings with all of them, explained", UsageText: "outbox config init [--file <file>] [--force]",
		Description: `Every setting is there at its default, so the file changes nothing until it is edited. What is removed from it keeps its
default. --file writes it, readable by its owner alone, and refuses to replace a file.

Examples:
  outbox config init > outbox.yaml
  outbox config init --file outbox.yaml --force`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "`FILE` to write, instead of standard output"},
			&cli.BoolFlag{Name: "force", Usage: "replace the file"},
		},
		Action: configInit,
	}
}

func configInit(c *cli.Context) error {
	path := c.String("file")
	if path == "" {
		if c.Bool("force") {
			return usagef(c, "flag --force goes with --file")
		}
		_, err := fmt.Fprint(c.App.Writer, initialConfig())
		return err
	}
	if err := writeOnce(path, initialConfig(), c.Bool("force")); errors.Is(err, fs.ErrExist) {
		return usagef(c, "%s exists; --force replaces it", path)
	} else if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	_, err := fmt.Fprintf(c.App.ErrWriter, "wrote %s; next: edit it, then outbox config validate --config %s\n", path, path)
	return err
}

// writeOnce writes a file that its owner alone can read, whole or not at all.
func writeOnce(path, content string, replace bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone once it was renamed
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		return os.Rename(f.Name(), path)
	}
	return os.Link(f.Name(), path) // refuses one that exists
}

const initialHead = `# Settings of outbox, each at its default. Any of them may be removed.
#
# A flag wins over its environment variable, that over this file: outbox config show tells where each came from. ${NAME} in a
# value is a variable of the environment: keep passwords there, or in the files that *_password_file names. Lists are [a, b]
# or a,b. Check it with: outbox config validate --config FILE. For editors: outbox config schema.
`

// initialConfig is the whole file.
func initialConfig() string {
	var b strings.Builder
	b.WriteString(initialHead) //nolint:errcheck // a Builder never fails
	part := ""
	for _, s := range settingTable {
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
		for _, line := range fold(s.plainUsage(), 110-len(indent)) {
			fmt.Fprintf(&b, "%s# %s\n", indent, line)
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, strings.TrimPrefix(s.key(), s.section+"."), yamlText(s.value))
	}
	return b.String()
}

// part is the title under which a setting stands in the file.
func (s *setting) part() string {
	if s.section != "" {
		return "Of outbox " + s.section
	}
	server, _, _ := strings.Cut(s.name, "-")
	if title, ok := map[string]string{"database": "PostgreSQL", "nats": "NATS", "redis": "Redis"}[server]; ok {
		return title
	}
	return "Of every command"
}

// bareText is what YAML reads as the text that it is, or as the number or truth that the setting wants.
var bareText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./,:@>*-]*$`)

func yamlText(value string) string {
	if !bareText.MatchString(value) || value == "on" || value == "off" { // YAML 1.1 takes these for a truth
		return strconv.Quote(value)
	}
	return value
}

// fold breaks a text at blanks into lines of at most width, but for words that are longer.
func fold(text string, width int) []string {
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
