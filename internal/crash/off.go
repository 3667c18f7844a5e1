//go:build !crashpoints

// Package crash marks points of the protocols at which fault tests let the process die. In a build with the tag
// crashpoints, which only the fault tests use, the process kills itself at the point in OUTBOX_CRASH, and skips the
// check in OUTBOX_FORCE. In every other build the functions do nothing.
package crash

// Point does nothing in this build.
func Point(string) {}

// Forced returns false in this build.
func Forced(string) bool { return false }
