// Package local evicts the values that an event made stale from a cache inside this process.
package local
