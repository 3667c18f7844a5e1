package setting

import (
	"errors"
	"fmt"
)

// maxFlaws bounds the mistakes of one file that are reported.
const maxFlaws = 100

// A Position is where a setting is in a settings file. The zero value is that of a setting that comes from elsewhere.
type Position struct {
	File         string
	Line, Column int
}

// String is file:line:column, or the file alone where the line is unknown.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A positionError is a mistake in the settings file.
type positionError struct {
	position Position
	err      error
}

func (e *positionError) Error() string { return e.position.String() + ": " + e.err.Error() }
func (e *positionError) Unwrap() error { return e.err }

// Locate returns the position of an error in a settings file and its text without the position. ok is false for an
// error that has none.
func Locate(err error) (at Position, text string, ok bool) {
	e, ok := errors.AsType[*positionError](err)
	if !ok {
		return Position{}, "", false
	}
	return e.position, e.err.Error(), true
}

// each returns the errors that errors.Join combined.
func each(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// join combines errors, at most maxFlaws of them.
func join(errs []error) error {
	if len(errs) > maxFlaws {
		errs = append(errs[:maxFlaws:maxFlaws], fmt.Errorf("and %d more", len(errs)-maxFlaws))
	}
	return errors.Join(errs...)
}
