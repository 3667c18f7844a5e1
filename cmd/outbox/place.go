package main

import (
	"errors"
	"fmt"
)

// maxFlaws bounds how many mistakes of one file are told.
const maxFlaws = 100

// A place is where a setting stands in a file; none for one that comes from elsewhere.
type place struct {
	file         string
	line, column int
}

func (p place) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s:%d:%d", p.file, p.line, p.column)
}

// A placeError is a mistake in the file of settings. It is the caller's to mend.
type placeError struct {
	place place
	err   error
}

func (e *placeError) Error() string { return e.place.String() + ": " + e.err.Error() }
func (e *placeError) Unwrap() error { return e.err }

// each takes apart what errors.Join put together.
func each(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// allOf is one error for all, which a command can end with.
func allOf(errs []error) error {
	if len(errs) > maxFlaws {
		errs = append(errs[:maxFlaws:maxFlaws], fmt.Errorf("and %d more", len(errs)-maxFlaws))
	}
	return errors.Join(errs...)
}
