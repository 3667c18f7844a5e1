package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// noEcho is what a rule says that wants none.
const noEcho = "off"

// parseEcho reads the delays of a rule, the shortest first: nil if it has none, empty if it is off.
func parseEcho(texts Texts) ([]time.Duration, *fault) {
	switch {
	case texts == nil:
		return nil, nil
	case len(texts) == 0:
		return nil, wrong("echo", -1, "echo has no time, write %s for none", noEcho)
	case len(texts) > MaxEchoes:
		return nil, wrong("echo", -1, "the rule has %d echoes, the limit is %d", len(texts), MaxEchoes)
	case len(texts) == 1 && texts[0] == noEcho:
		return []time.Duration{}, nil
	}
	delays := make([]time.Duration, len(texts))
	for i, text := range texts {
		var err error
		if delays[i], err = parseTime("echo", text, MinEcho, MaxEcho); err != nil {
			return nil, &fault{"echo", i, err}
		}
		if slices.Contains(delays[:i], delays[i]) {
			return nil, wrong("echo", i, "echo %q is there twice", text)
		}
	}
	slices.Sort(delays)
	return delays, nil
}

// parseTTL reads one time, or the shortest and the longest.
func parseTTL(texts Texts) (span Span, f *fault) {
	switch {
	case texts == nil:
		return span, nil
	case len(texts) != 1 && len(texts) != 2:
		return span, wrong("ttl", -1, "ttl has %s, want one or the shortest and the longest", count(len(texts), "time"))
	}
	var ends [2]time.Duration
	for i, text := range texts {
		var err error
		if ends[i], err = parseTime("ttl", text, MinTTL, MaxTTL); err != nil {
			return span, &fault{"ttl", i, err}
		}
	}
	if len(texts) == 1 {
		return Span{ends[0], ends[0]}, nil
	}
	if ends[0] > ends[1] {
		return span, wrong("ttl", 1, "ttl %q is shorter than %q, want the shortest first", texts[1], texts[0])
	}
	return Span{ends[0], ends[1]}, nil
}

func parseTime(noun, text string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s %q is no time, want one such as 500ms, 5s or 1h", noun, text)
	}
	if d < least || d > most {
		return 0, fmt.Errorf("%s %q is outside of %s to %s", noun, text, timeText(least), timeText(most))
	}
	return d, nil
}

// timeText writes a time as a rule file would: 1h, not 1h0m0s.
func timeText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

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
