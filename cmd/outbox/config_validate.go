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

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

func configValidateCommand() *cli.Command {
	return &cli.Command{
		Name: "validate", Usage: "find all mistakes in the settings", UsageText: "outbox config validate [--config <file>] [flags]",
		Description: `Checks the file, the environment and the flags together, as every command does, and prints all mistakes with file, line
and column, also values that contradict each other. Exits 2 if there are any. A password in the file itself, and a file that
does not exist on this machine, are warnings. It connects to no server, but the variables that the file names must be set.

Examples:
  outbox config validate --config outbox.yaml
  outbox config validate --config outbox.yaml -o json`,
		Flags:  append(setting.Flags(""), term.OutputFlag()),
		Action: configValidate,
	}
}

// A validation is what config validate prints.
type validation struct {
	OK       bool   `json:"ok"`       // no errors; there may be warnings
	File     string `json:"file"`     // empty for none
	Settings int    `json:"settings"` // that are given; the others have their defaults
	Flaws    []flaw `json:"flaws"`
}

// A flaw is a setting that is wrong, or dangerous.
type flaw struct {
	Severity string `json:"severity"`       // error or warning
	File     string `json:"file,omitempty"` // empty for a setting that is not in the file
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Problem  string `json:"problem"`
}

const (
	severe = "error"
	mild   = "warning"
)

// configValidate opens its session itself, since the settings may be invalid.
func configValidate(c *cli.Context) error {
	set, errs := setting.Gather(c, "")
	s := &session{c: c, set: set, json: c.String("output") == "json"}
	out := &validation{File: setting.Path(c), Flaws: []flaw{}}
	for _, err := range errs {
		out.add(severe, err)
	}
	for _, entry := range setting.All() {
		if set.Origin(entry.Key()).From != "default" {
			out.Settings++
		}
	}
	for _, err := range conflicts(set) {
		severity := severe
		if errors.Is(err, fs.ErrNotExist) { // it may exist on the machine that uses the settings
			severity = mild
		}
		out.add(severity, err)
	}
	for _, err := range append(oddities(set), bareSecrets(set)...) {
		out.add(mild, err)
	}
	slices.SortStableFunc(out.Flaws, func(a, b flaw) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	wrong := out.count(severe)
	out.OK = wrong == 0
	if err := s.print(out, out.print); err != nil || out.OK {
		return err
	}
	return exit.Usagef(c, "%s in the settings", mistakes(wrong))
}

func (out *validation) add(severity string, err error) {
	f := flaw{Severity: severity, Problem: redact.Text(err.Error())}
	if at, text, ok := setting.Locate(err); ok {
		f.File, f.Line, f.Column, f.Problem = at.File, at.Line, at.Column, redact.Text(text)
	}
	out.Flaws = append(out.Flaws, f)
}

func (out *validation) count(severity string) (n int) {
	for _, f := range out.Flaws {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// print writes each flaw in the format of compilers, so that editors can jump to it.
func (out *validation) print(w io.Writer) error {
	for _, f := range out.Flaws {
		at := ""
		if f.File != "" {
			at = setting.Position{File: f.File, Line: f.Line, Column: f.Column}.String() + ": "
		}
		if err := printf(w, "%s%s: %s\n", at, f.Severity, term.Plain(f.Problem)); err != nil {
			return err
		}
	}
	if !out.OK {
		return nil
	}
	return printf(w, "ok: %d settings, %s\n", out.Settings, cmp.Or(out.File, "no file"))
}

func mistakes(n int) string {
	if n == 1 {
		return "1 mistake"
	}
	return fmt.Sprintf("%d mistakes", n)
}

// bareSecrets returns a warning for each password that is in the file itself.
func bareSecrets(set *setting.Set) (errs []error) {
	for _, entry := range setting.All() {
		o := set.Origin(entry.Key())
		if !o.Bare {
			continue
		}
		text := "the file contains a password or token; write ${NAME} instead, or use the setting that names a file"
		if info, err := os.Stat(o.Position.File); err == nil && info.Mode().Perm()&0o007 != 0 {
			text += "; every user of this machine can read it"
		}
		errs = append(errs, set.At(entry.Key(), fmt.Errorf("%s: %s", entry.Key(), text)))
	}
	return errs
}

// conflicts returns an error for each value, or group of values, that a command would refuse although each value is
// valid by itself. It connects to no server.
func conflicts(set *setting.Set) (errs []error) {
	add := func(prefix string, err error) {
		if err != nil {
			errs = append(errs, set.Blame(prefix, err))
		}
	}
	_, err := table.In(set.Text("schema"))
	add("schema", err)
	for _, f := range dial.Flaws(set) {
		add(f.Prefix, f.Err)
	}
	config := relayConfig(set)
	config.Schema = "" // checked above
	_, err = relay.New(nil, nil, config)
	add("relay.", err)
	parsed := &rules.Set{}
	if set.Text("invalidate.rules") != "" {
		if read, err := readRules(set); err != nil {
			add("invalidate.rules", err)
		} else {
			parsed = read
		}
	}
	if set.Text("invalidate.dead_stream") == set.Text("stream") {
		add("invalidate.dead_stream", fmt.Errorf("invalidate.dead_stream and stream must differ, both are %q: a poison event would be delivered again indefinitely", set.Text("stream")))
	} else {
		add("invalidate.", invalidatorConfig(set, parsed).Check())
	}
	add("relay.max_age", tooYoung(set, "invalidate.echo"))
	return errs
}

// tooYoung returns an error if the stream drops messages before the consumers of a setting read them.
func tooYoung(set *setting.Set, key string) error {
	age, late := set.Duration("relay.max_age"), set.Durations(key)
	if age > 0 && len(late) > 0 && slices.Max(late) >= age {
		return fmt.Errorf("want relay.max_age above %[2]s (%[3]v), preferably days, got %[1]v: the stream would drop events before they are read", age, key, slices.Max(late))
	}
	return nil
}

// oddities returns a warning for each value that works but was probably not intended.
func oddities(set *setting.Set) (errs []error) {
	odd := func(key, format string, args ...any) { errs = append(errs, set.At(key, fmt.Errorf(format, args...))) }
	if at := set.Text("relay.listen"); at != "" && at == set.Text("invalidate.listen") {
		odd("invalidate.listen", "relay.listen and invalidate.listen are the same address: on one machine, the second to start cannot listen")
	}
	if set.On("relay.no_create") {
		for _, key := range []string{"relay.replicas", "relay.max_age"} {
			if o := set.Origin(key); o.Value != o.Setting.Default() {
				odd(key, "%s has no effect: it applies when outbox relay creates the stream, and relay.no_create is true", key)
			}
		}
	}
	if set.Duration("relay.ack_wait") > set.Duration("relay.grace") {
		odd("relay.grace", "relay.grace is shorter than relay.ack_wait: a relay that stops cannot read from the stream whether an unacknowledged publish succeeded")
	}
	if err := tooYoung(set, "invalidate.staleness"); err != nil {
		odd("relay.max_age", "%w; this matters only if a rule has a ttl or a version", err)
	}
	if age, window := set.Duration("relay.max_age"), set.Duration("invalidate.redelivery_window"); age > 0 && window > age {
		odd("relay.max_age", "relay.max_age is shorter than invalidate.redelivery_window: after a Redis fail-over the stream lacks events that must be processed again")
	}
	if set.On("insecure") {
		odd("insecure", "insecure is true (%s): connections to other machines may be unencrypted or unverified", set.Origin("insecure").From)
	}
	return errs
}
