// Package faults breaks everything that production breaks, under load, and holds the end against the promises.
//
// Every scenario runs the program itself (built with the tag crashpoints) on real servers, while writers stall, roll back
// and change the same keys. When it is over and all has come to rest, internal/verify judges the stream, and every
// cached key is compared with its row. The package has tests only. `make faults` runs them at full size and writes the
// table of docs/reliability.md; `make test` runs a small size; `make soak` repeats random faults for as long as asked.
package faults
