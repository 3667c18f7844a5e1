// Package staleness measures how stale a cache becomes, and what stays stale, under different ways of invalidating it, while
// faults are injected.
//
// # An arm
//
// Each [Arm] has servers of its own. A row has a version, which each update increments; writers prefer some rows, so that
// these are hot. Readers do what services do: GET; on a miss, SELECT and SETEX with a long time to live, so that nothing
// expires soon enough to hide a fault. One fill in a hundred stalls for up to seconds between the SELECT and the SETEX, as
// a pause for garbage collection would make it. The relay and the invalidator are separate processes, which some faults kill.
//
// # The oracle
//
// A [Ledger] in memory records when each COMMIT returned. A read is stale if it found a value in the cache and the COMMIT of
// a newer version had returned before the read began; its staleness is the time between the two. Both definitions err in
// favor of the cache. A stale read is a violation if its staleness exceeds the bound of its arm. No bound applies during a
// fault: the bound then counts from the moment when the invalidator has processed everything that was published before the
// fault was repaired. The result reports how long that took.
//
// At the end writers and readers stop. Once all consumers are done and no fill is in progress, every cached value is
// compared with its row. A key that differs is stuck: it would stay stale until its time to live ends.
package staleness
