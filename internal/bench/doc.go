// Package bench measures the relay and the invalidator side by side with the raw floor made of the same calls: the same
// ids, payloads, windows and servers, with nothing around them.
//
// A [Scenario] is one question. Its arms take turns (floor, ours, floor, ours …), so that what else happens on the
// machine meets both; a ratio is that of a pair of neighbours, and what is reported of it is the median with the least and
// the greatest. Beside it stand the CPU time of every process that can be seen from here, the memory, the allocations, and
// what the run was bound by. Absolute figures are those of one machine; ratios travel.
//
// The relay and the invalidator run in this process, where their allocations can be counted; where memory is the question, the
// relay is the program itself. Schemas, streams and keys have random names that begin with outbox_bench_, and are removed
// however a run ends, short of kill -9. Nothing else on the servers is touched.
//
// A [Curve] plays one scenario over and over with one setting changed. Package figures draws it.
package bench
