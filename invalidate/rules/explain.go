package rules

import (
	"errors"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// An Explanation says what the rules make of one event, for a person who asks.
type Explanation struct {
	Subject string        `json:"subject"`
	Matched []MatchedRule `json:"matched"` // in the order of the file
	Rules   int           `json:"rules"`   // how many there are
	Keys    int           `json:"keys"`    // how many keys would be deleted
	Poison  bool          `json:"poison"`  // the event would be dead-lettered, after what can be deleted was
}

// A MatchedRule is a rule that matches the event, and what it gave.
type MatchedRule struct {
	Rule    int      `json:"rule"`    // index in the file, from 0
	Subject string   `json:"subject"` // its pattern
	Keys    []string `json:"keys"`    // without those that a rule before it named
	Error   string   `json:"error,omitempty"`
}

// Explain returns what Resolve would, told by rule.
func (r *Set) Explain(e *outbox.Event) Explanation {
	s := Resolver{rules: r}
	s.load(e, nil)
	told := Explanation{Subject: e.Subject, Matched: []MatchedRule{}, Rules: len(r.rules)}
	for _, i := range s.candidates() {
		if !s.matches(i) {
			continue
		}
		before := len(s.found)
		err := s.apply(i)
		m := MatchedRule{Rule: r.rules[i].index, Subject: r.rules[i].pattern.text, Keys: []string{}}
		for _, d := range s.found[before:] {
			m.Keys = append(m.Keys, d.Key)
		}
		if rule, ok := errors.AsType[*RuleError](err); ok {
			m.Error = rule.Error()
			told.Poison = true
		}
		told.Matched = append(told.Matched, m)
	}
	told.Keys = len(s.found)
	return told
}
