package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

// Exit codes, the same for every command.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitFindings    = 3
	exitUnavailable = 69 // EX_UNAVAILABLE of sysexits.h
)

// A usageError is the caller's to mend: a flag, a setting, a file they wrote.
type usageError struct {
	command string // whose --help says more; empty means outbox itself
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes a usageError; c may be nil, then leaf fills the command in.
func usagef(c *cli.Context, format string, args ...any) error {
	e := &usageError{err: fmt.Errorf(format, args...)}
	if c != nil {
		e.command = c.Command.HelpName
	}
	return e
}

// A serverError says which server could not be reached.
type serverError struct {
	server string
	err    error
}

func (e *serverError) Error() string { return "reach " + e.server + ": " + e.err.Error() }
func (e *serverError) Unwrap() error { return e.err }

// A codeError ends the program with a code and, if there is an error, its text.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

func findings(format string, args ...any) error {
	return &codeError{code: exitFindings, err: fmt.Errorf(format, args...)}
}

// onUsageError words what the flag parser says. The parser has no error types, only texts.
func onUsageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		name, _, _ = strings.Cut(strings.TrimLeft(name, "-"), "=")
		if c.Command.HelpName == c.App.HelpName && isFlagOf(c.App.Commands, name) {
			return usagef(c, "flag --%s stands behind the command: outbox <command> --%s …", name, name)
		}
		var known []string
		for _, f := range c.Command.Flags {
			known = append(known, "--"+f.Names()[0])
		}
		return usagef(c, "unknown flag --%s%s", name, suggest("--"+name, known))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usagef(c, "flag --%s needs a value", strings.TrimLeft(name, "-"))
	}
	return usagef(c, "%w", err)
}

func isFlagOf(commands []*cli.Command, name string) bool {
	return slices.ContainsFunc(commands, func(c *cli.Command) bool {
		return isFlagOf(c.Subcommands, name) || slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	})
}

// report prints an error with what to do next, and returns the exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "outbox:", redact(err.Error()))
	for _, line := range hints(err) {
		fmt.Fprintln(stderr, line)
	}
	return code(err)
}

func code(err error) int {
	if e, ok := errors.AsType[*codeError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[cli.ExitCoder](err); ok { // of the library itself: help for an unknown command
		return exitUsage
	}
	if unavailable(err) {
		return exitUnavailable
	}
	return exitFailed
}

// unavailable tells a server that is away from one that answered with a refusal.
func unavailable(err error) bool {
	if errors.Is(err, context.Canceled) || tlsRefused(err) {
		return false
	}
	if code := sqlstate.Of(err); code != "" {
		return slices.Contains([]string{sqlstate.AdminShutdown, sqlstate.CrashShutdown, sqlstate.CannotConnectNow, sqlstate.TooManyConnections}, code)
	}
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) {
		return false
	}
	if refusedByRedis(err) {
		return false
	}
	if answer, ok := errors.AsType[jetstream.JetStreamError](err); ok && answer.APIError() != nil && answer.APIError().Code != http.StatusServiceUnavailable {
		return false
	}
	if _, ok := errors.AsType[*serverError](err); ok {
		return true
	}
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// hints are the lines that say what the caller can do next.
func hints(err error) []string {
	var out []string
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		if pg.Hint != "" {
			out = append(out, "hint: "+pg.Hint)
		}
		if pg.Code == sqlstate.LockNotAvailable {
			out = append(out, "hint: others use the table; nothing was changed, try again or wait longer with --lock-timeout")
		}
	}
	if tlsRefused(err) {
		out = append(out, "hint: the server's certificate must name the host that the URL has, and be signed by the CA given (--database-ca, --nats-ca, --redis-ca) or one of the system; ours by one that the server knows")
	}
	if e, ok := errors.AsType[*serverError](err); ok && unavailable(err) {
		out = append(out, "run: outbox doctor, or see which URL is in use: outbox config show; for "+e.server+" that is "+urlSetting[e.server])
	}
	if _, ok := errors.AsType[cli.ExitCoder](err); ok {
		out = append(out, "run: outbox --help")
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		command := e.command
		if command == "" {
			command = "outbox"
		}
		out = append(out, "run: "+command+" --help")
	}
	if e, ok := errors.AsType[*stoppedError](err); ok {
		out = append(out, e.hint())
	}
	return out
}

var urlSetting = map[string]string{postgres: "database_url", natsServer: "nats_url", redisServer: "redis_url"}

// Names of the servers, in errors, reports and --skip.
const (
	postgres    = "postgres"
	natsServer  = "nats"
	redisServer = "redis"
)
