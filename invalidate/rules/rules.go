package rules

import (
	"slices"
	"time"

	_ "embed"
)

// Limits of a rule file and of what one event may ask for.
const (
	MaxRules        = 1000    // rules in a file
	MaxSubjects     = 1000    // subject patterns in a file, those of lists counted one by one
	MaxRuleKeys     = 100     // key templates in a rule, and as many of tags
	MaxRulePrefixes = 100     // prefixes in a rule
	MaxEventKeys    = 1000    // keys and tags that one event may name, prefixes and arrays multiplied out
	MaxKey          = 1024    // bytes of one key, prefix included
	MaxRuleFile     = 1 << 20 // bytes of a rule file

	MaxEchoes = 4                 // echo delays in a rule
	MinEcho   = time.Millisecond  // the shortest delay of an echo
	MaxEcho   = time.Hour         // the longest
	MinTTL    = time.Millisecond  // the shortest time to live
	MaxTTL    = 87600 * time.Hour // the longest, ten years
)

// Schema is the JSON Schema of a rule file, for editors and other tools.
//
//go:embed rules.schema.json
var Schema []byte

// A Set resolves events to the keys they make stale. It never changes and is safe for concurrent use.
type Set struct {
	rules []compiled       // a rule with several subjects is there once for each
	count int              // of the rules in the file
	first map[string][]int // rules that can match a subject with this first token, in order of the file
	wild  []int            // rules that match any first token: for subjects whose first is not in the map
}

// Len returns how many rules there are.
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

// Subjects returns the filter of a consumer that needs nothing but what the rules match: their subjects
// without those that another one covers. NATS refuses a filter whose subjects overlap, so if two of them
// still do, it returns nil, which means the whole stream.
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
		if slices.ContainsFunc(kept[:i], p.meets) {
			return nil
		}
		subjects = append(subjects, p.text)
	}
	return subjects
}
