package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// noEcho is the value of the field echo for a rule without echoes.
const noEcho = "off"

// parseEcho returns the delays of a rule, the shortest first: nil if the field is absent, an empty list for off.
func parseEcho(texts texts) ([]time.Duration, *fault) {
	switch {
	case texts == nil:
		return nil, nil
	case len(texts) == 0:
		return nil, faultf("echo", -1, "empty echo; want 1 to %d delays such as 5s, or %s", MaxEchoes, noEcho)
	case len(texts) > MaxEchoes:
		return nil, faultf("echo", -1, "%d delays in echo; want at most %d", len(texts), MaxEchoes)
	case len(texts) == 1 && texts[0] == noEcho:
		return []time.Duration{}, nil
	}
	delays := make([]time.Duration, len(texts))
	for i, text := range texts {
		var err error
		if delays[i], err = parseDuration("echo", text, MinEcho, MaxEcho); err != nil {
			return nil, &fault{"echo", i, err}
		}
		if slices.Contains(delays[:i], delays[i]) {
			return nil, faultf("echo", i, "echo %q repeats an earlier delay; remove one of them", text)
		}
	}
	slices.Sort(delays)
	return delays, nil
}

// parseTTL returns the time to live of a rule, from one duration or from the shortest and the longest.
func parseTTL(texts texts) (span Span, f *fault) {
	switch {
	case texts == nil:
		return span, nil
	case len(texts) != 1 && len(texts) != 2:
		return span, faultf("ttl", -1, "%s in ttl; want one, or the shortest and the longest", count(len(texts), "duration"))
	}
	var ends [2]time.Duration
	for i, text := range texts {
		var err error
		if ends[i], err = parseDuration("ttl", text, MinTTL, MaxTTL); err != nil {
			return span, &fault{"ttl", i, err}
		}
	}
	if len(texts) == 1 {
		return Span{ends[0], ends[0]}, nil
	}
	if ends[0] > ends[1] {
		return span, faultf("ttl", 1, "ttl %q is shorter than %q; want the shortest first", texts[1], texts[0])
	}
	return Span{ends[0], ends[1]}, nil
}

func parseDuration(field, text string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("invalid %s %q; want a duration such as 500ms, 5s or 1h", field, text)
	}
	if d < least || d > most {
		return 0, fmt.Errorf("invalid %s %q; want %s to %s", field, text, durationText(least), durationText(most))
	}
	return d, nil
}

// durationText writes a duration as a rule file would: 1h, not 1h0m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Delays returns the delays of all echoes of the rules, without duplicates, the shortest first. A rule without the field
// echo has the delays def.
func (r *Set) Delays(def []time.Duration) []time.Duration {
	var all []time.Duration
	for i := range r.rules {
		all = append(all, r.rules[i].delays(def)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Echo returns the rules that have an echo after this delay. A rule without the field echo has the delays def.
func (r *Set) Echo(delay time.Duration, def []time.Duration) *Set {
	return r.filter(func(c *compiled) bool { return slices.Contains(c.delays(def), delay) })
}

// Checkable returns the rules with a TTL or a version. Only for these can a staleness check determine whether a cached value
// is older than an event.
func (r *Set) Checkable() *Set {
	return r.filter(func(c *compiled) bool { return c.ttl != Span{} || c.version != nil })
}

func (c *compiled) delays(def []time.Duration) []time.Duration {
	if c.echo == nil {
		return def
	}
	return c.echo
}

// filter returns the rules for which keep is true. They keep their index in the file.
func (r *Set) filter(keep func(*compiled) bool) *Set {
	var list []compiled
	for i := range r.rules {
		if keep(&r.rules[i]) {
			list = append(list, r.rules[i])
		}
	}
	return newSet(list)
}
