package rules

import (
	"slices"
	"time"

	_ "embed"
)

// Limits of a rule file, and of the keys that one event may name. Parse returns an error for a file that exceeds one.
const (
	MaxRules        = 1000    // rules in a file
	MaxSubjects     = 1000    // subject patterns in a file, all lists together
	MaxRuleKeys     = 100     // key templates in a rule; the same limit applies to its tag templates
	MaxRulePrefixes = 100     // prefixes in a rule
	MaxEventKeys    = 1000    // keys and tags of one event, with all prefixes and array elements
	MaxKey          = 1024    // bytes of one key or tag, prefix included
	MaxRuleFile     = 1 << 20 // bytes of a rule file or of a file of examples

	MaxEchoes = 4                 // echo delays in a rule
	MinEcho   = time.Millisecond  // the shortest delay of an echo
	MaxEcho   = time.Hour         // the longest delay of an echo
	MinTTL    = time.Millisecond  // the shortest time to live
	MaxTTL    = 87600 * time.Hour // the longest time to live, ten years
)

//go:embed rules.schema.json
var schema string

// Schema returns the JSON Schema of a rule file, for editors and other tools. It describes fields and limits, not templates:
// Parse can still reject a file that conforms to it.
func Schema() string { return schema }

// A Set is an immutable list of rules. It is safe for concurrent use. Create one with [Parse].
type Set struct {
	rules []compiled       // a rule with several subjects is in the list once for each
	count int              // number of rules in the file
	first map[string][]int // rules that can match a subject with this first token, in the order of the file
	wild  []int            // rules that match any first token, for subjects whose first token is not in the map
}

// Len returns the number of rules.
func (r *Set) Len() int { return r.count }

// newSet indexes compiled rules by the first token of their subjects.
func newSet(list []compiled) *Set {
	r := &Set{rules: list, first: make(map[string][]int)}
	for i := range list {
		if i == 0 || list[i].index != list[i-1].index {
			r.count++
		}
		token := list[i].pattern.tokens[0]
		if token == "*" || token == ">" {
			for first := range r.first {
				r.first[first] = append(r.first[first], i)
			}
			r.wild = append(r.wild, i)
			continue
		}
		if _, ok := r.first[token]; !ok {
			r.first[token] = slices.Clone(r.wild)
		}
		r.first[token] = append(r.first[token], i)
	}
	return r
}

// Subjects returns the filter subjects of a consumer that needs only events that match a rule: the subjects of the rules,
// without those that another subject covers. It returns nil, which means the whole stream, if two of the remaining subjects
// overlap, because NATS rejects such a filter.
func (r *Set) Subjects() []string {
	var kept []*pattern
	for i := range r.rules {
		p := &r.rules[i].pattern
		if slices.ContainsFunc(kept, func(q *pattern) bool { return q.covers(p) }) {
			continue
		}
		kept = slices.DeleteFunc(kept, func(q *pattern) bool { return p.covers(q) })
		kept = append(kept, p)
	}
	subjects := make([]string, 0, len(kept))
	for i, p := range kept {
		if slices.ContainsFunc(kept[:i], p.overlaps) {
			return nil
		}
		subjects = append(subjects, p.text)
	}
	return subjects
}
