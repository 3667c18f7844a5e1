// Package staleness is the experiment: how stale do readers see a cache, and what stays stale, under one way of
// invalidating it after the other, with faults.
package staleness
