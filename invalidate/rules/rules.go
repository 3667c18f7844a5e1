package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	_ "embed"
)

// Limits of a rule file and of what one event may ask for.
const (
	MaxRules        = 1000    // rules in a file
	MaxRuleKeys     = 100     // key templates in a rule
	MaxRulePrefixes = 100     // prefixes in a rule
	MaxEventKeys    = 1000    // keys that one event may name, prefixes and arrays multiplied out
	MaxKey          = 1024    // bytes of one key, prefix included
	MaxRuleFile     = 1 << 20 // bytes of a rule file
)

// Schema is the JSON Schema of a rule file, for editors and other tools.
//
//go:embed rules.schema.json
var Schema []byte

// Rule says which keys an event makes stale. It is what a rule file holds a list of; Parse checks it.
type Rule struct {
	// Subject is the NATS pattern of the events it is about: "users.*.updated", "orders.>".
	Subject string `yaml:"subject" json:"subject"`
	// Keys are templates of the keys: "user:$1:profile". The package documentation lists the placeholders.
	Keys []string `yaml:"keys" json:"keys"`
	// Prefix lists what stands before each key, literally; each key is deleted once under each. Defaults to [""].
	Prefix []string `yaml:"prefix,omitempty" json:"prefix,omitempty"`
	// On narrows the rule to events of these operations (insert, update, delete), told by their header
	// Outbox-Op. Defaults to all events, those without an operation too.
	On []string `yaml:"on,omitempty" json:"on,omitempty"`
}

// A Set resolves events to the keys they make stale. It never changes and is safe for concurrent use.
type Set struct {
	rules []compiled
	first map[string][]int // rules that can match a subject with this first token, in order of the file
	wild  []int            // rules that match any first token: for subjects whose first is not in the map
}

type compiled struct {
	pattern  pattern
	keys     []template
	prefixes []string
	on       []string
	index    int             // in the file
	echo     []time.Duration // nil: the default of the invalidator; empty: none
	ttl      Span
	version  *Version
}

// Len returns how many rules there are.
func (r *Set) Len() int { return len(r.rules) }

// A fault is what is wrong with a rule, and where: the path to the value inside the rule.
type fault struct {
	field string // subject, keys, prefix, on; "" for the rule itself
	index int    // in the list of that field, -1 for the field itself
	err   error
}

func (r *Rule) compile() (compiled, *fault) {
	c := compiled{on: r.On, prefixes: r.Prefix}
	var err error
	if c.pattern, err = parsePattern(r.Subject); err != nil {
		return c, &fault{"subject", -1, err}
	}
	if len(c.prefixes) == 0 {
		c.prefixes = []string{""}
	}
	if f := r.checkLists(); f != nil {
		return c, f
	}
	for i, text := range r.Keys {
		t, err := parseTemplate(text, &c.pattern)
		if err != nil {
			return c, &fault{"keys", i, err}
		}
		for _, prefix := range c.prefixes {
			if n := len(prefix) + t.size(); n > MaxKey {
				return c, &fault{"keys", i, fmt.Errorf("key has at least %d bytes, the limit is %d", n, MaxKey)}
			}
		}
		c.keys = append(c.keys, t)
	}
	return c, nil
}

// checkLists checks what can be said of a rule without looking into its templates.
func (r *Rule) checkLists() *fault {
	switch n := max(1, len(r.Prefix)) * len(r.Keys); {
	case len(r.Keys) == 0:
		return &fault{"keys", -1, fmt.Errorf("the rule has no keys")}
	case len(r.Keys) > MaxRuleKeys:
		return &fault{"keys", -1, fmt.Errorf("the rule has %d keys, the limit is %d", len(r.Keys), MaxRuleKeys)}
	case len(r.Prefix) > MaxRulePrefixes:
		return &fault{"prefix", -1, fmt.Errorf("the rule has %d prefixes, the limit is %d", len(r.Prefix), MaxRulePrefixes)}
	case n > MaxEventKeys:
		return &fault{"keys", -1, fmt.Errorf("the rule names %d keys with its prefixes, the limit for an event is %d", n, MaxEventKeys)}
	}
	for i, prefix := range r.Prefix {
		if strings.IndexFunc(prefix, unicode.IsControl) >= 0 {
			return &fault{"prefix", i, fmt.Errorf("prefix %q has a control character", prefix)}
		}
	}
	for i, op := range r.On {
		if op != "insert" && op != "update" && op != "delete" {
			return &fault{"on", i, fmt.Errorf("operation %q is none of insert, update, delete", op)}
		}
		if slices.Contains(r.On[:i], op) {
			return &fault{"on", i, fmt.Errorf("operation %q is there twice", op)}
		}
	}
	return nil
}

// newSet indexes compiled rules by the first token of their subjects.
func newSet(list []compiled) *Set {
	r := &Set{rules: list, first: make(map[string][]int)}
	for i := range list {
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
