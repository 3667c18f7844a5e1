package exit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// A usageError is the caller's to correct: a flag, a setting, a file they wrote.
type usageError struct {
	command string // whose --help explains it; empty means the program itself
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Usagef is an error with exit code Usage. Report adds "run: <command of c> --help". c may be nil where the command is
// not known; OfCommand fills it in.
func Usagef(c *cli.Context, format string, args ...any) error {
	e := &usageError{err: fmt.Errorf(format, args...)}
	if c != nil {
		e.command = c.Command.HelpName
	}
	return e
}

// IsUsage reports whether the caller must correct the error.
func IsUsage(err error) bool {
	_, ok := errors.AsType[*usageError](err)
	return ok
}

// OfCommand names the command whose --help explains err, if err is a usage error that names none. It returns err.
func OfCommand(command string, err error) error {
	if e, ok := errors.AsType[*usageError](err); ok && e.command == "" {
		e.command = command
	}
	return err
}

// OnUsageError is the cli.OnUsageErrorFunc of every command. It rewords the errors of the flag parser, which have no
// types, only texts.
func OnUsageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		name, _, _ = strings.Cut(strings.TrimLeft(name, "-"), "=")
		if c.Command.HelpName == c.App.HelpName && isFlagOf(c.App.Commands, name) {
			return Usagef(c, "flag --%s must come after the command: %s <command> --%s …", name, c.App.Name, name)
		}
		var known []string
		for _, f := range c.Command.Flags {
			known = append(known, "--"+f.Names()[0])
		}
		return Usagef(c, "unknown flag --%s%s", name, Suggest("--"+name, known))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return Usagef(c, "flag --%s needs a value", strings.TrimLeft(name, "-"))
	}
	return Usagef(c, "%w", err)
}

func isFlagOf(commands []*cli.Command, name string) bool {
	return slices.ContainsFunc(commands, func(c *cli.Command) bool {
		return isFlagOf(c.Subcommands, name) || slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	})
}
