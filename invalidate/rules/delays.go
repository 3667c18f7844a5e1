package rules

import (
	"slices"
	"time"
)

// Delays returns the delays of all echoes that the rules ask for, each once and the shortest first; a rule that does
// not say has those of def.
func (r *Set) Delays(def []time.Duration) []time.Duration {
	var all []time.Duration
	for i := range r.rules {
		all = append(all, r.rules[i].delays(def)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Echo returns the rules that ask for an echo after this delay.
func (r *Set) Echo(delay time.Duration, def []time.Duration) *Set {
	return r.keep(func(c *compiled) bool { return slices.Contains(c.delays(def), delay) })
}

// Audited returns the rules by which the age or the version of a cached value can be told: those with a TTL or a version.
func (r *Set) Audited() *Set {
	return r.keep(func(c *compiled) bool { return c.ttl != Span{} || c.version != nil })
}

func (c *compiled) delays(def []time.Duration) []time.Duration {
	if c.echo == nil {
		return def
	}
	return c.echo
}

// keep returns the rules for which want is true; they keep their index in the file.
func (r *Set) keep(want func(*compiled) bool) *Set {
	var list []compiled
	for i := range r.rules {
		if want(&r.rules[i]) {
			list = append(list, r.rules[i])
		}
	}
	return newSet(list)
}
