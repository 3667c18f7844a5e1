package main

import (
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// settings are the values of one run, by key, each with where it came from.
type settings struct {
	values map[string]origin
	log    *slog.Logger // warns of what they allow

	patience time.Time       // until when servers that are away are waited for, if they may be
	stop     <-chan struct{} // closed when the program has to end
}

// An origin is a value and where it came from: flag --stream, env OUTBOX_STREAM, file /etc/outbox.yaml:3, default.
type origin struct {
	setting *setting
	value   string
	from    string
	place   place // if that is the file
	bare    bool  // a password stands in the file itself
}

const configVariable = "OUTBOX_CONFIG"

// settingFlags are the flags of the settings that all commands share, and of those of one section: all of them,
// or the named ones.
func settingFlags(section string, only ...string) []cli.Flag {
	flags := []cli.Flag{&cli.StringFlag{
		Name: "config", Usage: "YAML `FILE` of settings [$" + configVariable + "]", Category: sharedSettings,
	}}
	for _, s := range settingTable {
		if s.section == "" || s.section == section && (len(only) == 0 || slices.Contains(only, s.name)) {
			flags = append(flags, s.flag())
		}
	}
	return flags
}

// loadSettings reads every setting: its flag if the command has it, else the environment, else the file, else the
// default. section is the one whose flags the command has. Every value is checked, of other commands too, and everything
// that is wrong is in the error.
func loadSettings(c *cli.Context, section string) (settings, error) {
	out, errs := gatherSettings(c, section)
	return out, allOf(errs)
}

// gatherSettings is loadSettings for who goes on: what will not do is left at its default.
func gatherSettings(c *cli.Context, section string) (settings, []error) {
	file, err := readConfigFile(configPath(c), os.LookupEnv)
	errs := each(err)
	out := settings{values: make(map[string]origin, len(settingTable))}
	for _, s := range settingTable {
		o := origin{setting: s, value: s.value, from: "default"}
		if found, ok := file[s.key()]; ok {
			o = found
		}
		for _, name := range s.variables() {
			if value := os.Getenv(name); value != "" {
				o = origin{setting: s, value: value, from: "env " + name}
				break
			}
		}
		if (s.section == "" || s.section == section) && c.IsSet(s.name) {
			o = origin{setting: s, value: c.String(s.name), from: "flag --" + s.name}
			if s.switch_ {
				o.value = strconv.FormatBool(c.Bool(s.name))
			}
		}
		if err := s.check(o.value); err != nil {
			errs = append(errs, s.refuse(o.from, o.value, err))
			o = origin{setting: s, value: s.value, from: "default"}
		}
		out.values[s.key()] = o
	}
	out.log = newLogger(c, out)
	out.patience, out.stop = time.Now().Add(out.duration("wait")), c.Context.Done()
	return out, errs
}

// configPath is the file of --config, empty for none.
func configPath(c *cli.Context) string {
	if path := c.String("config"); path != "" {
		return path
	}
	return os.Getenv(configVariable)
}

func (s settings) text(key string) string { return s.origin(key).value }

func (s settings) on(key string) bool { v := s.text(key); return v == "on" || v == "true" }

// number and duration were checked when they were loaded; empty is 0.
func (s settings) number(key string) int {
	n, _ := strconv.Atoi(s.text(key)) //nolint:errcheck // checked
	return n
}

func (s settings) share(key string) float64 {
	f, _ := strconv.ParseFloat(s.text(key), 64) //nolint:errcheck // checked
	return f
}

func (s settings) duration(key string) time.Duration {
	d, _ := time.ParseDuration(s.text(key)) //nolint:errcheck // checked
	return d
}

// days is a time that may be in days.
func (s settings) days(key string) time.Duration {
	d, _ := days(s.text(key)) //nolint:errcheck // checked
	return d
}

// durations is a list of times; not nil, and without any where it says off.
func (s settings) durations(key string) []time.Duration {
	list := []time.Duration{}
	for _, item := range s.list(key) {
		if d, err := time.ParseDuration(item); err == nil { // checked
			list = append(list, d)
		}
	}
	return list
}

func (s settings) list(key string) []string { return split(s.text(key)) }

func (s settings) origin(key string) origin {
	o, ok := s.values[key]
	if !ok {
		panic("no setting " + key) // a typo that any test of the command shows
	}
	return o
}

// split takes a list apart at its commas; blanks around an item and empty items do not count.
func split(list string) []string {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// A verb is what a command does once its settings are known.
type verb func(c *cli.Context, s settings) error

// withSettings makes the action of a command whose settings are those of a section.
func withSettings(section string, do verb) cli.ActionFunc {
	return func(c *cli.Context) error {
		s, err := loadSettings(c, section)
		if err != nil {
			return err
		}
		return do(c, s)
	}
}

// required refuses a command line on which one of these flags has no value.
func required(c *cli.Context, flags ...string) error {
	var missing []string
	for _, name := range flags {
		if c.String(name) == "" {
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return usagef(c, "%s missing", strings.Join(missing, " and "))
}
