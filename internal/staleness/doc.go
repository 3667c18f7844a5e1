// Package staleness is the experiment: how stale do readers see a cache, and what stays stale, under one way of
// invalidating it after the other, with faults.
//
// # One arm
//
// Each [Arm] has servers of its own. Rows have a version that grows by one with each update; writers choose them with a
// skew, so that some are hot. Readers do what services do: GET, on a miss SELECT and SETEX with a long time to live, so
// that nothing expires in time to hide a fault. One fill in a hundred stalls for seconds between the SELECT and the SETEX,
// as after a pause for garbage collection. Relay and invalidator are processes of their own, and are killed.
//
// # The oracle
//
// A [Ledger] in memory knows when each COMMIT had returned. A read is stale if it found a value in the cache that is older
// than a version whose COMMIT had returned before the read began; its staleness is the time between these two moments.
// Both err on the side of the cache. A stale read is a violation if its staleness exceeds the bound of its arm. While a
// fault lasts, no bound holds: the time counts from when the invalidator had worked off all that was published before
// the fault was healed, and how long that took is in the result.
//
// At the end writers and readers stop. When all consumers are done and no fill is under way, every key in the cache is
// compared with its row. One that differs is stuck: it would stay so until its time to live ends.
package staleness
