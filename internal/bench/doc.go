// Package bench measures the relay and the invalidator, and compares them with a floor: the same calls to the same servers,
// with the same ids, payloads and windows, and nothing else.
//
// A [Scenario] asks one question. Its arms run in turns (floor, ours, floor, ours, …), so that other load on the machine
// affects both. A ratio compares two adjacent runs; the result has the median ratio, the least and the greatest. It also has
// the CPU time of every visible process, the memory, the allocations, and what limited the run. Absolute figures depend on
// the machine; ratios are more portable.
//
// The relay and the invalidator run in this process, which can count their allocations. Where memory is the question, the
// relay is a process of its own. Schemas, streams and keys have random names that begin with outbox_bench_. They are removed
// however a run ends, unless the process is killed with SIGKILL. Nothing else on the servers is changed.
//
// A [Curve] runs one scenario repeatedly with one setting changed. Package figures draws it.
package bench
