//go:build !crashpoints

// Package crash names the points of the protocols at which a process may die. In a build with the tag crashpoints, which
// only the fault tests make, the process kills itself at the one that OUTBOX_CRASH names, and takes what OUTBOX_FORCE names
// for granted; otherwise nothing happens.
package crash

// Point does nothing.
func Point(string) {}

// Forced says no.
func Forced(string) bool { return false }
