package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// ErrPoison is wrapped by every error that says an event can never be resolved: it lacks what a rule needs.
// Such an event goes to the dead letters; no error of a server is one of these.
var ErrPoison = errors.New("poison event")

// A RuleError says why one key of one rule cannot be made of an event. It wraps ErrPoison.
type RuleError struct {
	Rule    int    // index in the file, from 0
	Subject string // the pattern of the rule
	Key     string // the template
	Reason  string // never shows what the event holds
}

// Error names the rule as its path in the file.
func (e *RuleError) Error() string {
	return fmt.Sprintf("rules[%d] (%s), key %q: %s", e.Rule, e.Subject, e.Key, e.Reason)
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
	// has it. "" and nil if a rule that named the key does not say, or says otherwise than another.
	Due     string
	Version *Version
}

// A Span is the shortest and the longest time to live that readers give a value. They must never refresh it.
type Span struct{ Min, Max time.Duration }

// Resolve returns the keys that the event makes stale, each once, in the order of the rules. No keys and no
// error means that no rule matches. If a key cannot be made, the error says so for the first key of each
// rule (*RuleError, wrapping ErrPoison), and the keys that can be made are returned all the same: deleting
// them does no harm.
func (r *Set) Resolve(e *outbox.Event) ([]Deletion, error) {
	s := Resolver{rules: r}
	return s.Resolve(e, nil)
}

// A Resolver resolves one event after the other and keeps what it needs for that. It belongs to one
// goroutine.
type Resolver struct {
	rules   *Set
	event   *outbox.Event
	tokens  []string // of the event's subject
	payload payload
	values  [][]byte // of the payload, for the template at hand
	key     []byte   // the key being made
	made    int      // keys of the event, duplicates too
	rule    int      // the rule being resolved
	pattern *pattern
	found   []Deletion // what the event gave so far is found[begin:]
	begin   int
	seen    map[string]struct{} // the keys in found[begin:] once they are many
}

// maxMade bounds the work for one event: the same key made again counts here, but not as a key.
const maxMade = 16 * MaxEventKeys

// manyKeys is from where on a map finds duplicates faster than a look at each.
const manyKeys = 32

// NewResolver returns a resolver of these rules.
func (r *Set) NewResolver() *Resolver { return &Resolver{rules: r} }

// Resolve does what Set.Resolve does, and appends to a list.
func (s *Resolver) Resolve(e *outbox.Event, list []Deletion) ([]Deletion, error) {
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

func (s *Resolver) load(e *outbox.Event, list []Deletion) {
	s.event, s.found, s.begin = e, list, len(list)
	s.made = 0
	s.payload.reset(e.Payload)
	clear(s.seen)
	s.tokens = s.tokens[:0]
	for token := range strings.SplitSeq(e.Subject, ".") {
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

func (s *Resolver) matches(i int) bool {
	rule := &s.rules.rules[i]
	if !rule.pattern.matches(s.tokens) {
		return false
	}
	return len(rule.on) == 0 || slices.Contains(rule.on, s.event.Headers[outbox.HeaderOp])
}

// apply finds the keys of one rule and returns the first that cannot be made as an error.
func (s *Resolver) apply(i int) error {
	rule := &s.rules.rules[i]
	s.rule, s.pattern = rule.index, &rule.pattern
	var first error
	for k := range rule.keys {
		if err := s.make(&rule.keys[k], rule.prefixes); err != nil && first == nil {
			first = &RuleError{Rule: rule.index, Subject: rule.pattern.text, Key: rule.keys[k].text, Reason: err.Error()}
		}
	}
	return first
}

// make finds the keys of one template.
func (s *Resolver) make(t *template, prefixes []string) error {
	s.values = s.values[:0]
	for i := range t.parts {
		if t.parts[i].from != fromPayload {
			continue
		}
		value, err := s.payload.lookup(t.parts[i].path)
		if err != nil {
			return err
		}
		if value[0] == '[' && skipSpace(value[1:])[0] == ']' {
			return nil // no element, no key
		}
		s.values = append(s.values, value)
	}
	for _, prefix := range prefixes {
		s.key = append(s.key[:0], prefix...)
		if err := s.expand(t.parts, s.values); err != nil {
			return err // the next prefix would say the same
		}
	}
	return nil
}

// expand appends the parts to the key and adds it to what was found; values are what the payload has for
// them. An array makes a key of each of its elements, several make one of every combination.
func (s *Resolver) expand(parts []part, values [][]byte) error {
	for i := range parts {
		p := &parts[i]
		if p.from != fromPayload {
			if err := s.paste(p); err != nil {
				return err
			}
			continue
		}
		value := values[0]
		values = values[1:]
		if value[0] == '[' {
			return s.fan(value, p.raw, parts[i+1:], values)
		}
		if err := s.pasteScalar(value, p.raw); err != nil {
			return err
		}
	}
	return s.add()
}

// fan goes on with the rest of the parts for each element of an array.
func (s *Resolver) fan(array []byte, raw bool, parts []part, values [][]byte) error {
	n := len(s.key)
	return elements(array, func(element []byte) error {
		s.key = s.key[:n]
		if err := s.pasteScalar(element, raw); err != nil {
			return err
		}
		return s.expand(parts, values)
	})
}

func (s *Resolver) pasteScalar(value []byte, raw bool) error {
	text, err := scalar(value)
	if err == nil {
		s.key, err = appendField(s.key, text, raw)
	}
	return err
}

// paste appends the text that a part stands for, unless it is of the payload.
func (s *Resolver) paste(p *part) (err error) {
	switch p.from {
	case fromLiteral:
		s.key = append(s.key, p.text...)
	case fromToken:
		s.key, err = appendField(s.key, s.wildcard(p.n), p.raw)
	case fromSubject:
		s.key, err = appendField(s.key, s.event.Subject, p.raw)
	case fromKey:
		if s.event.Key == "" {
			return errors.New("the event has no key")
		}
		s.key, err = appendField(s.key, s.event.Key, p.raw)
	case fromHeader:
		value, ok := s.event.Headers[p.text]
		if !ok {
			return fmt.Errorf("the event has no header %q", p.text)
		}
		s.key, err = appendField(s.key, value, p.raw)
	}
	return err
}

// wildcard returns the text that the n-th wildcard stands for.
func (s *Resolver) wildcard(n int) string {
	i := s.pattern.wildcards[n]
	if s.pattern.tokens[i] == "*" || i == len(s.tokens)-1 {
		return outbox.DecodeToken(s.tokens[i])
	}
	decoded := make([]string, 0, len(s.tokens)-i)
	for _, token := range s.tokens[i:] {
		decoded = append(decoded, outbox.DecodeToken(token))
	}
	return strings.Join(decoded, ".")
}

// add takes the key over into what was found, unless it is there already.
func (s *Resolver) add() error {
	s.made++
	switch {
	case len(s.key) == 0:
		return errors.New("the key is empty")
	case len(s.key) > MaxKey:
		return fmt.Errorf("the key has %d bytes, the limit is %d", len(s.key), MaxKey)
	case s.made > maxMade:
		return fmt.Errorf("the event names more than %d keys, most of them again and again", maxMade)
	case s.known():
		return nil
	case len(s.found)-s.begin == MaxEventKeys:
		return fmt.Errorf("the event names more than %d keys", MaxEventKeys)
	}
	key := string(s.key)
	s.found = append(s.found, Deletion{Key: key, Rule: s.rule})
	if len(s.seen) > 0 {
		s.seen[key] = struct{}{}
	}
	return nil
}

func (s *Resolver) known() bool {
	list := s.found[s.begin:]
	if len(list) < manyKeys {
		return slices.ContainsFunc(list, func(d Deletion) bool { return d.Key == string(s.key) })
	}
	if len(s.seen) == 0 {
		if s.seen == nil {
			s.seen = make(map[string]struct{}, 2*manyKeys)
		}
		for _, d := range list {
			s.seen[d.Key] = struct{}{}
		}
	}
	_, ok := s.seen[string(s.key)]
	return ok
}
