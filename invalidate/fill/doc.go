// Package fill reads through a cache so that no value older than an event is written into it, and so that one reader
// loads what many ask for.
package fill
