// Package faults injects the faults of production under load and verifies the promises afterwards.
//
// Each scenario runs the outbox program itself (built with the tag crashpoints) with real servers, while writers stall,
// roll back and change the same keys. When all work is done, internal/verify compares the stream with the table, and
// the scenario compares every cached key with its row. The package contains tests only. `make faults` runs them at full
// size and writes the table of docs/reliability.md; `make test` runs a small size; `make soak` injects random faults
// for a given time.
package faults
