package rules

import (
	"errors"
	"time"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// An Explanation says what the rules make of one event, for a person who asks.
type Explanation struct {
	Subject string        `json:"subject"`
	Matched []MatchedRule `json:"matched"` // in the order of the file
	Rules   int           `json:"rules"`   // how many there are
	Keys    int           `json:"keys"`    // how many keys would be deleted
	Tags    int           `json:"tags"`    // of how many tags the members would be deleted
	Poison  bool          `json:"poison"`  // the event would be dead-lettered, after what can be deleted was
}

// A MatchedRule is a rule that matches the event, and what it gave. A rule of which several subjects match is there
// once for each.
type MatchedRule struct {
	Rule    int      `json:"rule"`          // index in the file, from 0
	Subject string   `json:"subject"`       // its pattern
	Keys    []string `json:"keys"`          // without those that a rule before it named
	Tags    []string `json:"tags"`          // likewise
	Headers bool     `json:"headers"`       // the event's own headers may name keys and tags
	Echo    []string `json:"echo"`          // delays: none if it is off, DefaultEcho if the rule does not say
	TTL     []string `json:"ttl,omitempty"` // the shortest and the longest time that readers let a value live
	Due     string   `json:"due,omitempty"` // the version that the event has
	Error   string   `json:"error,omitempty"`
}

// DefaultEcho stands for the delays of the invalidator, where those of rules are told.
const DefaultEcho = "default"

// Explain returns what Resolve would, told by rule.
func (r *Set) Explain(e *event.Event) Explanation {
	s := Resolver{rules: r}
	s.load(e, nil)
	told := Explanation{Subject: e.Subject, Matched: []MatchedRule{}, Rules: r.Len()}
	for _, i := range s.candidates() {
		if !s.matches(i) {
			continue
		}
		before := len(s.found)
		err := s.apply(i)
		rule := &r.rules[i]
		m := MatchedRule{
			Rule: rule.index, Subject: rule.pattern.text, Keys: []string{}, Tags: []string{},
			Headers: rule.headers, Echo: rule.echoTexts(), TTL: rule.ttl.texts(), Due: s.due,
		}
		for _, d := range s.found[before:] {
			if d.Tag {
				m.Tags = append(m.Tags, d.Key)
			} else {
				m.Keys = append(m.Keys, d.Key)
			}
		}
		if rule, ok := errors.AsType[*RuleError](err); ok {
			m.Error = rule.Error()
			told.Poison = true
		}
		told.Keys, told.Tags = told.Keys+len(m.Keys), told.Tags+len(m.Tags)
		told.Matched = append(told.Matched, m)
	}
	return told
}

// EchoTexts returns the delays that the rules ask for, the shortest first, as a rule file writes them; DefaultEcho
// stands before them if a rule does not say.
func (r *Set) EchoTexts() []string {
	const fallback = -1 // shorter than any
	list := []string{}
	for _, d := range r.Delays([]time.Duration{fallback}) {
		if d == fallback {
			list = append(list, DefaultEcho)
		} else {
			list = append(list, timeText(d))
		}
	}
	return list
}

func (c *compiled) echoTexts() []string {
	if c.echo == nil {
		return []string{DefaultEcho}
	}
	list := make([]string, len(c.echo))
	for i, d := range c.echo {
		list[i] = timeText(d)
	}
	return list
}

func (s Span) texts() []string {
	if s == (Span{}) {
		return nil
	}
	return []string{timeText(s.Min), timeText(s.Max)}
}
