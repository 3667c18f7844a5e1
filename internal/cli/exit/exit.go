// Package exit decides how a command ends: its exit code, the text of its error on standard error, and the line that
// names the next step.
//
// A command returns an error; Report prints it and returns the exit code. The code follows from what the error is:
//
//   - Usagef makes errors that the caller must correct: a flag, a setting, a file. Exit code 2.
//   - Findingsf makes errors for commands that ran and found a problem in the data. Exit code 3.
//   - Unreached marks an error as that of a server. The exit code is 69 if the server did not answer, and 1 if it
//     answered with a refusal, such as a wrong password; see IsUnavailable.
//   - With sets any other code.
//   - Everything else is exit code 1.
//
// Nothing here calls os.Exit; only the main package does.
package exit

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

// Exit codes of all commands.
const (
	Failed      = 1
	Usage       = 2
	Findings    = 3
	Unavailable = 69 // EX_UNAVAILABLE of sysexits.h
)

// A codeError ends the program with a code of its own.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

// With makes the program end with code. err must not be nil.
func With(code int, err error) error { return &codeError{code, err} }

// Findingsf is an error with exit code Findings: the command ran, and found a problem.
func Findingsf(format string, args ...any) error { return With(Findings, fmt.Errorf(format, args...)) }

// Code returns the exit code for an error, 0 for nil.
func Code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*codeError](err); ok {
		return e.code
	}
	if IsUsage(err) {
		return Usage
	}
	if _, ok := errors.AsType[cli.ExitCoder](err); ok { // the library's own, for an unknown command after help
		return Usage
	}
	if IsUnavailable(err) {
		return Unavailable
	}
	return Failed
}

// Report prints an error and its hints, without passwords or tokens, and returns the exit code. It prints nothing for
// nil. program is the name that the lines begin with.
func Report(stderr io.Writer, program string, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %s\n", program, redact.Text(err.Error()))
	for _, line := range hints(program, err) {
		fmt.Fprintln(stderr, line)
	}
	return Code(err)
}

// Crash, deferred, reports a panic as the runtime would, but without passwords or tokens, and sets code to Failed: the
// runtime's own code is that of a usage error.
func Crash(stderr io.Writer, program string, code *int) {
	if v := recover(); v != nil {
		fmt.Fprintf(stderr, "%s: panic: %s\n\n%s", program, redact.Text(fmt.Sprint(v)), redact.Text(string(debug.Stack())))
		*code = Failed
	}
}

// hints returns the lines that name what the caller can do next.
func hints(program string, err error) []string {
	var out []string
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		if pg.Hint != "" {
			out = append(out, "hint: "+pg.Hint)
		}
		if pg.Code == sqlstate.LockNotAvailable {
			out = append(out, "hint: other sessions use the table and nothing was changed; try again, or wait longer with --lock-timeout")
		}
	}
	if tlsRefused(err) {
		out = append(out, "hint: the server's certificate must name the host in the URL and be signed by the CA given (--database-ca, --nats-ca, --redis-ca) or by one of the system; the client certificate must be signed by a CA that the server accepts")
	}
	if e, ok := errors.AsType[*serverError](err); ok && IsUnavailable(err) {
		out = append(out, "run: outbox doctor; to see the URL in use, run: outbox config show (setting "+urlSetting[e.server]+")")
	}
	if _, ok := errors.AsType[cli.ExitCoder](err); ok {
		out = append(out, "run: "+program+" --help")
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		command := e.command
		if command == "" {
			command = program
		}
		out = append(out, "run: "+command+" --help")
	}
	if e, ok := errors.AsType[hinter](err); ok {
		out = append(out, e.Hint())
	}
	return out
}

// A hinter is an error with a line of its own, which comes last.
type hinter interface {
	error
	Hint() string
}
