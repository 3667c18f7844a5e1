// Package setting reads the settings of a command: from its flag, else an environment variable, else the settings file,
// else its default.
//
// Every setting is in one table, from which its flag, its variables, its key in the file, its check, the JSON Schema
// and the commented file of outbox config init follow. Values are checked when they are read, so the accessors of Set
// return no errors.
package setting

import (
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

// A Set is the settings of one run, each with its origin. It must not be changed while others use it.
type Set struct {
	Log      *slog.Logger // as the settings log_format and log_level want it
	Deadline time.Time    // until when the command waits for servers that do not answer; see the setting wait

	origins map[string]Origin // by key
}

// An Origin is a value and where it came from.
type Origin struct {
	Setting  *Setting
	Value    string
	From     string   // flag --stream, env OUTBOX_STREAM, file /etc/outbox.yaml:3 or default
	Position Position // in the file, if it came from there
	Bare     bool     // the file contains the password itself
}

const fileVariable = "OUTBOX_CONFIG"

// Flags are the flags of the settings that all commands share, and of those of one section: all of them, or only the
// named ones.
func Flags(section string, only ...string) []cli.Flag {
	flags := []cli.Flag{&cli.StringFlag{
		Name: "config", Usage: "YAML `FILE` with settings [$" + fileVariable + "]", Category: Shared,
	}}
	for _, s := range table {
		if s.section == "" || s.section == section && (len(only) == 0 || slices.Contains(only, s.name)) {
			flags = append(flags, s.flag())
		}
	}
	return flags
}

// Path is the settings file that --config or its variable names, empty for none.
func Path(c *cli.Context) string {
	if path := c.String("config"); path != "" {
		return path
	}
	return os.Getenv(fileVariable)
}

// Load reads all settings, also those of other commands. section is the one whose flags the command has. The error
// names every value that is invalid.
func Load(c *cli.Context, section string) (*Set, error) {
	s, errs := Gather(c, section)
	return s, join(errs)
}

// Gather is Load for a command that continues: each error is one invalid value, which is left at its default.
func Gather(c *cli.Context, section string) (*Set, []error) {
	file, err := ReadFile(Path(c), os.LookupEnv)
	errs := each(err)
	out := Defaults()
	for _, s := range table {
		o := out.origins[s.Key()]
		if found, ok := file[s.Key()]; ok {
			o = found
		}
		for _, name := range s.Variables() {
			if value := os.Getenv(name); value != "" {
				o = Origin{Setting: s, Value: value, From: "env " + name}
				break
			}
		}
		if (s.section == "" || s.section == section) && c.IsSet(s.name) {
			o = Origin{Setting: s, Value: c.String(s.name), From: "flag --" + s.name}
			if s.switch_ {
				o.Value = strconv.FormatBool(c.Bool(s.name))
			}
		}
		if err := s.Check(o.Value); err != nil {
			errs = append(errs, s.invalid(o.From, err))
			continue
		}
		out.origins[s.Key()] = o
	}
	out.Log = term.Logger(c.App.ErrWriter, out.Text("log_format"), out.Text("log_level"))
	out.Deadline = time.Now().Add(out.Duration("wait"))
	return out, errs
}

// Defaults is every setting at its default. It logs nothing and waits for no server.
func Defaults() *Set {
	out := &Set{Log: slog.New(slog.DiscardHandler), origins: make(map[string]Origin, len(table))}
	for _, s := range table {
		out.origins[s.Key()] = Origin{Setting: s, Value: s.value, From: "default"}
	}
	return out
}

// Override sets a value without a check. from is its origin, as in Origin.
func (s *Set) Override(key, value, from string) {
	s.origins[key] = Origin{Setting: s.Origin(key).Setting, Value: value, From: from}
}

// Origin returns a value with its origin. It panics for an unknown key.
func (s *Set) Origin(key string) Origin {
	o, ok := s.origins[key]
	if !ok {
		panic("no setting " + key) // a typo, which any test of the command finds
	}
	return o
}

// Text returns a value as it was written.
func (s *Set) Text(key string) string { return s.Origin(key).Value }

// On reports whether a value is on or true.
func (s *Set) On(key string) bool { v := s.Text(key); return v == "on" || v == "true" }

// Number returns a whole number, 0 for an empty value.
func (s *Set) Number(key string) int {
	n, _ := strconv.Atoi(s.Text(key)) //nolint:errcheck // checked by Load
	return n
}

// Share returns a fraction, 0 for an empty value.
func (s *Set) Share(key string) float64 {
	f, _ := strconv.ParseFloat(s.Text(key), 64) //nolint:errcheck // checked by Load
	return f
}

// Duration returns a time, 0 for an empty value.
func (s *Set) Duration(key string) time.Duration {
	d, _ := time.ParseDuration(s.Text(key)) //nolint:errcheck // checked by Load
	return d
}

// Days returns a time that may be given in days.
func (s *Set) Days(key string) time.Duration {
	d, _ := Days(s.Text(key)) //nolint:errcheck // checked by Load
	return d
}

// Durations returns a list of times; empty and not nil if the value is off.
func (s *Set) Durations(key string) []time.Duration {
	list := []time.Duration{}
	for _, item := range s.List(key) {
		if d, err := time.ParseDuration(item); err == nil { // off is none
			list = append(list, d)
		}
	}
	return list
}

// List returns the items of a list.
func (s *Set) List(key string) []string { return Split(s.Text(key)) }

// At adds to an error the position of a setting in the file, if the setting came from there.
func (s *Set) At(key string, err error) error {
	if o := s.Origin(key); o.Position.Line > 0 {
		return &positionError{o.Position, err}
	}
	return err
}

// Blame is At for an error about the settings whose keys begin with prefix: for the one that the error names, else the
// first of them that came from the file.
func (s *Set) Blame(prefix string, err error) error {
	at := ""
	for _, entry := range table {
		key := entry.Key()
		if !strings.HasPrefix(key, prefix) || s.Origin(key).Position.Line == 0 {
			continue
		}
		if at == "" || strings.Contains(err.Error(), key) && !strings.Contains(err.Error(), at) {
			at = key
		}
	}
	if at == "" {
		return err
	}
	return s.At(at, err)
}

// Split returns the items of a list that is joined by commas, without blanks around them and without empty items.
func Split(list string) []string {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// Required returns a usage error if one of these flags has no value.
func Required(c *cli.Context, flags ...string) error {
	var missing []string
	for _, name := range flags {
		if c.String(name) == "" {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return exit.Usagef(c, "missing %s", strings.Join(missing, " and "))
}
