package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// ErrPoison is wrapped by every error of an event that can never be resolved, because it lacks what a rule requires or
// exceeds a limit. The invalidator dead-letters such an event. No error of a server wraps ErrPoison.
var ErrPoison = errors.New("poison event")

// A RuleError is the reason why an event yields no key for one template or header of one rule. It wraps ErrPoison.
type RuleError struct {
	Rule    int    // index in the file, from 0
	Subject string // the pattern of the rule that matched
	Of      string // the kind of Key: key, tag or header
	Key     string // the template, or the name of the header
	Reason  string // contains no data of the event
}

// Error identifies the rule by its path in the file, as in rules[0].
func (e *RuleError) Error() string {
	return fmt.Sprintf("rules[%d] (%s), %s %q: %s", e.Rule, e.Subject, e.Of, e.Key, e.Reason)
}

// Unwrap returns ErrPoison.
func (e *RuleError) Unwrap() error { return ErrPoison }

// A Deletion is a key or a tag that an event makes stale.
type Deletion struct {
	Key  string
	Rule int // index in the file of the first rule that named it, from 0
	// Tag is true if Key is an index of keys, a SET or a ZSET of Redis: its members must be deleted, the index itself must
	// not.
	Tag bool
	// TTL is the time to live that readers give the value. It is zero if a rule that named the key declares none.
	TTL Span
	// Due is the version of the event: a value with at least this version is not older than the event. Version finds the
	// version of a value. They are empty and nil if a rule that named the key declares no version, if two rules differ, or
	// if the event has no version.
	Due     string
	Version *Version
}

// A Span is the shortest and the longest time to live that readers give a value. They must never extend it.
type Span struct{ Min, Max time.Duration }

// Resolve returns the keys and tags that the event makes stale, without duplicates, in the order of the rules. An empty list
// without an error means that no matching rule names a key. The error has a *RuleError, which wraps ErrPoison, for the first
// key of each rule that the event cannot yield. Resolve returns the other keys in that case too: deleting them does no harm.
// It keeps no reference to the event.
func (r *Set) Resolve(e *event.Event) ([]Deletion, error) {
	s := Resolver{rules: r}
	return s.Resolve(e, nil)
}

// A Resolver resolves one event after the other, and reuses its memory. It is not safe for concurrent use. It keeps the last
// event until the next call.
type Resolver struct {
	rules   *Set
	event   *event.Event
	tokens  []string // of the subject of the event
	payload payload
	values  [][]byte // of the payload, for the current template
	groups  []group  // of the values, one for each placeholder
	key     []byte   // the current key
	tag     bool     // the current key is a tag
	made    int      // keys of the event, with duplicates
	rule    *compiled
	due     string     // the version of the event, for the current rule
	found   []Deletion // found[begin:] are the deletions of the event
	begin   int
	seen    map[name]int // index of the keys in found, if they are many
}

// NewResolver returns a resolver for these rules.
func (r *Set) NewResolver() *Resolver { return &Resolver{rules: r} }

// Resolve does the same as Set.Resolve, and appends the deletions to list.
func (s *Resolver) Resolve(e *event.Event, list []Deletion) ([]Deletion, error) {
	s.load(e, list)
	var errs []error
	for _, i := range s.candidates() {
		if !s.matches(i) {
			continue
		}
		if err := s.apply(i); err != nil {
			errs = append(errs, err)
		}
	}
	return s.found, joined(errs)
}

// joined joins errors. It returns a single error unwrapped.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

func (s *Resolver) load(e *event.Event, list []Deletion) {
	s.event, s.found, s.begin = e, list, len(list)
	s.made = 0
	s.payload.reset(e.Payload)
	clear(s.seen)
	s.split(e.Subject)
}

func (s *Resolver) split(subject string) {
	s.tokens = slices.Grow(s.tokens[:0], strings.Count(subject, ".")+1)
	for token := range strings.SplitSeq(subject, ".") {
		s.tokens = append(s.tokens, token)
	}
}

// candidates returns the rules that can match the first token of the subject.
func (s *Resolver) candidates() []int {
	if list, ok := s.rules.first[s.tokens[0]]; ok {
		return list
	}
	return s.rules.wild
}

// MatchesSubject reports whether the subject pattern of any rule matches, without regard to operations. It needs only the subject, so
// a consumer can acknowledge a message that concerns no rule without parsing it.
func (s *Resolver) MatchesSubject(subject string) bool {
	s.split(subject)
	for _, i := range s.candidates() {
		if s.rules.rules[i].pattern.matches(s.tokens) {
			return true
		}
	}
	return false
}

func (s *Resolver) matches(i int) bool {
	rule := &s.rules.rules[i]
	if !rule.pattern.matches(s.tokens) {
		return false
	}
	return len(rule.on) == 0 || slices.Contains(rule.on, s.event.Headers[event.HeaderOp])
}

// apply adds the keys and tags of one rule. It returns the error of the first one that the event cannot yield.
func (s *Resolver) apply(i int) error {
	rule := &s.rules.rules[i]
	s.rule, s.due = rule, ""
	if rule.version != nil {
		s.due = rule.version.due(&s.payload)
	}
	var first error
	note := func(of, key string, err error) {
		if err != nil && first == nil {
			first = &RuleError{Rule: rule.index, Subject: rule.pattern.text, Of: of, Key: key, Reason: err.Error()}
		}
	}
	s.tag = false
	for k := range rule.keys {
		note("key", rule.keys[k].text, s.addKeys(&rule.keys[k]))
	}
	if rule.headers {
		note("header", HeaderKeys, s.takeHeader(HeaderKeys))
	}
	s.tag = true
	for k := range rule.tags {
		note("tag", rule.tags[k].text, s.addKeys(&rule.tags[k]))
	}
	if rule.headers {
		note("header", HeaderTags, s.takeHeader(HeaderTags))
	}
	return first
}
