package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// ErrPoison is wrapped by every error that says an event can never be resolved: it lacks what a rule needs.
// Such an event goes to the dead letters; no error of a server is one of these.
var ErrPoison = errors.New("poison event")

// A RuleError says why one key of one rule cannot be made of an event. It wraps ErrPoison.
type RuleError struct {
	Rule    int    // index in the file, from 0
	Subject string // the pattern of the rule
	Of      string // what Key is: key, tag or header
	Key     string // the template, or the name of the header
	Reason  string // never shows what the event holds
}

// Error names the rule as its path in the file.
func (e *RuleError) Error() string {
	return fmt.Sprintf("rules[%d] (%s), %s %q: %s", e.Rule, e.Subject, e.Of, e.Key, e.Reason)
}

// Unwrap returns ErrPoison.
func (e *RuleError) Unwrap() error { return ErrPoison }

// A Deletion is a key that an event makes stale.
type Deletion struct {
	Key  string
	Rule int // index in the file of the first rule that named it, from 0
	// Tag says that Key is an index of keys, a SET or a ZSET of Redis: its members are to be deleted, and the index
	// itself is left alone.
	Tag bool
	// TTL is how long readers let the value live; zero if a rule that named the key does not say.
	TTL Span
	// Due is the version that a value must have, at least, to be newer than the event, and Version says where a value
	// has it. "" and nil if a rule that named the key does not say, says otherwise than another, or finds none in the event.
	Due     string
	Version *Version
}

// A Span is the shortest and the longest time to live that readers give a value. They must never refresh it.
type Span struct{ Min, Max time.Duration }

// Resolve returns the keys and tags that the event makes stale, each once, in the order of the rules. None and no
// error means that no rule matches, or none that names a key. If a key cannot be made, the error says so for the
// first key of each rule (*RuleError, wrapping ErrPoison), and the keys that can be made are returned all the same:
// deleting them does no harm.
func (r *Set) Resolve(e *event.Event) ([]Deletion, error) {
	s := Resolver{rules: r}
	return s.Resolve(e, nil)
}

// A Resolver resolves one event after the other and keeps what it needs for that. It belongs to one
// goroutine.
type Resolver struct {
	rules   *Set
	event   *event.Event
	tokens  []string // of the event's subject
	payload payload
	values  [][]byte // of the payload, for the template at hand
	groups  []group  // of the values, one for each placeholder
	key     []byte   // the key being made
	tag     bool     // it is a tag
	made    int      // keys of the event, duplicates too
	rule    *compiled
	due     string     // the version that the event has by the rule
	found   []Deletion // what the event gave so far is found[begin:]
	begin   int
	seen    map[name]int // index of the keys in found once they are many
}

// NewResolver returns a resolver of these rules.
func (r *Set) NewResolver() *Resolver { return &Resolver{rules: r} }

// Resolve does what Set.Resolve does, and appends to a list.
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

// joined spares the common case of one error the wrapper.
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

// candidates returns the rules whose first token fits.
func (s *Resolver) candidates() []int {
	if list, ok := s.rules.first[s.tokens[0]]; ok {
		return list
	}
	return s.rules.wild
}

// Asks says whether the subject of a rule matches this one, whatever else the rule wants. It needs no more than the subject,
// so that messages which no rule is about can be let go unread.
func (s *Resolver) Asks(subject string) bool {
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

// apply finds the keys and tags of one rule and returns the first that cannot be made as an error.
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
		note("key", rule.keys[k].text, s.make(&rule.keys[k]))
	}
	if rule.headers {
		note("header", HeaderKeys, s.takeHeader(HeaderKeys))
	}
	s.tag = true
	for k := range rule.tags {
		note("tag", rule.tags[k].text, s.make(&rule.tags[k]))
	}
	if rule.headers {
		note("header", HeaderTags, s.takeHeader(HeaderTags))
	}
	return first
}
