package rules

import (
	"errors"
	"time"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// An Explanation shows what the rules derive from one event, rule by rule, for people and tools.
type Explanation struct {
	Subject string        `json:"subject"`
	Matched []MatchedRule `json:"matched"` // in the order of the file
	Rules   int           `json:"rules"`   // number of rules in the set
	Keys    int           `json:"keys"`    // number of keys to delete
	Tags    int           `json:"tags"`    // number of tags whose members are to be deleted
	Poison  bool          `json:"poison"`  // the invalidator would dead-letter the event after deleting these
}

// A MatchedRule is a rule that matches the event, and what it derives. A rule with several matching subjects occurs once for
// each of them.
type MatchedRule struct {
	Rule    int      `json:"rule"`            // index in the file, from 0
	Subject string   `json:"subject"`         // the pattern that matches
	Keys    []string `json:"keys"`            // without keys of earlier rules
	Tags    []string `json:"tags"`            // without tags of earlier rules
	Headers bool     `json:"headers"`         // the headers of the event may name keys and tags
	Echo    []string `json:"echo"`            // delays; empty if off, DefaultEcho if the rule has no field echo
	TTL     []string `json:"ttl,omitempty"`   // the shortest and the longest time to live of a value
	Due     string   `json:"due,omitempty"`   // the version of the event
	Error   string   `json:"error,omitempty"` // the first key that the event cannot yield, as in RuleError
}

// DefaultEcho is the text for the delays of the invalidator, which apply to a rule without the field echo.
const DefaultEcho = "default"

// Explain returns the result of Resolve rule by rule.
func (r *Set) Explain(e *event.Event) Explanation {
	s := Resolver{rules: r}
	s.load(e, nil)
	out := Explanation{Subject: e.Subject, Matched: []MatchedRule{}, Rules: r.Len()}
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
			out.Poison = true
		}
		out.Keys, out.Tags = out.Keys+len(m.Keys), out.Tags+len(m.Tags)
		out.Matched = append(out.Matched, m)
	}
	return out
}

// EchoTexts returns the delays of all echoes of the rules as a rule file writes them, the shortest first. DefaultEcho comes
// before them if a rule has no field echo.
func (r *Set) EchoTexts() []string {
	const fallback = -1 // shorter than any delay
	list := []string{}
	for _, d := range r.Delays([]time.Duration{fallback}) {
		if d == fallback {
			list = append(list, DefaultEcho)
		} else {
			list = append(list, durationText(d))
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
		list[i] = durationText(d)
	}
	return list
}

func (s Span) texts() []string {
	if s == (Span{}) {
		return nil
	}
	return []string{durationText(s.Min), durationText(s.Max)}
}
