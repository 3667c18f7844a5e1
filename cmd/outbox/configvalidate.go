package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/urfave/cli/v2"
)

func configValidateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "find everything that is wrong with the settings", UsageText: "outbox config validate [--config <file>] [flags]",
		Description: `Looks at the file, the environment and the flags together, as every command does, and tells all mistakes at once with
their places, and values that contradict each other. Exits 2 if there are any. Passwords in the file itself and files that
are not on this machine are warnings. Needs no server, but the variables that the file names.

Examples:
  outbox config validate --config outbox.yaml
  outbox config validate --config outbox.yaml -o json`,
		Flags:  append(settingFlags(""), outputFlag()),
		Action: configValidate,
	}
}

type validateJSON struct {
	OK       bool   `json:"ok"`       // no errors; there may be warnings
	File     string `json:"file"`     // empty for none
	Settings int    `json:"settings"` // that are given; the others have their defaults
	Flaws    []flaw `json:"flaws"`
}

// A flaw is something that is wrong with the settings, or dangerous.
type flaw struct {
	Severity string `json:"severity"`       // error or warning
	File     string `json:"file,omitempty"` // empty for what is not in the file
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Problem  string `json:"problem"`
}

const (
	severe = "error"
	mild   = "warning"
)

func configValidate(c *cli.Context) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	s, errs := gatherSettings(c, "")
	told := validateJSON{File: configPath(c), Flaws: []flaw{}}
	for _, err := range errs {
		told.add(severe, err)
	}
	for _, o := range s.values {
		if o.from != "default" {
			told.Settings++
		}
	}
	for _, err := range s.contradictions() {
		severity := severe
		if errors.Is(err, fs.ErrNotExist) { // it may be on the machine that this is for
			severity = mild
		}
		told.add(severity, err)
	}
	for _, err := range append(s.oddities(), s.bareSecrets()...) {
		told.add(mild, err)
	}
	slices.SortStableFunc(told.Flaws, func(a, b flaw) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	return told.tell(c, asJSON)
}

func (told *validateJSON) add(severity string, err error) {
	f := flaw{Severity: severity, Problem: redact(err.Error())}
	if at, ok := errors.AsType[*placeError](err); ok {
		f.File, f.Line, f.Column, f.Problem = at.place.file, at.place.line, at.place.column, redact(at.err.Error())
	}
	told.Flaws = append(told.Flaws, f)
}

func (told *validateJSON) tell(c *cli.Context, asJSON bool) error {
	wrong := 0
	for _, f := range told.Flaws {
		if f.Severity == severe {
			wrong++
		}
	}
	told.OK = wrong == 0
	var err error
	if asJSON {
		err = printJSON(c.App.Writer, told)
	} else {
		err = told.print(c.App.Writer)
	}
	if err == nil && wrong > 0 {
		err = usagef(c, "%s wrong with the settings", things(wrong))
	}
	return err
}

// print tells each flaw as compilers do, so that editors can go there.
func (told *validateJSON) print(w io.Writer) error {
	for _, f := range told.Flaws {
		at := ""
		if f.File != "" {
			at = place{f.File, f.Line, f.Column}.String() + ": "
		}
		if _, err := fmt.Fprintf(w, "%s%s: %s\n", at, f.Severity, plain(f.Problem)); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	if !told.OK {
		return nil
	}
	_, err := fmt.Fprintf(w, "ok: %d settings given, %s\n", told.Settings, or(told.File, "no file"))
	return err
}

func things(n int) string {
	if n == 1 {
		return "1 thing is"
	}
	return fmt.Sprintf("%d things are", n)
}

// bareSecrets are the passwords that stand in the file itself.
func (s settings) bareSecrets() (errs []error) {
	for _, entry := range settingTable {
		o := s.origin(entry.key())
		if !o.bare {
			continue
		}
		text := "a password or token is in the file itself; write ${NAME} for it, or use the setting that names a file"
		if info, err := os.Stat(o.place.file); err == nil && info.Mode().Perm()&0o007 != 0 {
			text += "; everybody on this machine can read it"
		}
		errs = append(errs, s.at(entry.key(), fmt.Errorf("%s: %s", entry.key(), text)))
	}
	return errs
}

// at gives an error the place of a setting, if that is in the file.
func (s settings) at(key string, err error) error {
	if o := s.origin(key); o.place.line > 0 {
		return &placeError{o.place, err}
	}
	return err
}
