package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A group holds the values of one placeholder: values[from:to] of the resolver.
type group struct{ from, to int }

// addKeys adds the keys of one template.
func (s *Resolver) addKeys(t *template) error {
	s.values, s.groups = s.values[:0], s.groups[:0]
	var missing error // of an array element that lacks a value; the other elements still make their keys
	for i := range t.parts {
		if t.parts[i].from != fromPayload {
			continue
		}
		from := len(s.values)
		var err error
		// One value more than the limit is enough: add refuses it.
		if s.values, err = s.payload.collect(t.parts[i].path, s.values, maxMade+1); err != nil && missing == nil {
			missing = err
		}
		if len(s.values) == from {
			return missing // without an element there is no key
		}
		s.groups = append(s.groups, group{from, len(s.values)})
	}
	for _, prefix := range s.rule.prefixes {
		s.start(prefix)
		if err := s.expand(t.parts, s.groups); err != nil {
			return err // every other prefix would fail in the same way
		}
	}
	return missing
}

// expand appends the parts to the key and adds the key to what was found. groups has the payload values of the parts, in
// order. An array makes one key for each element, several arrays one for each combination.
func (s *Resolver) expand(parts []part, groups []group) error {
	for i := range parts {
		p := &parts[i]
		if p.from != fromPayload {
			if err := s.appendPart(p); err != nil {
				return err
			}
			continue
		}
		values := s.values[groups[0].from:groups[0].to]
		groups = groups[1:]
		if len(values) > 1 {
			return s.fanOut(values, p, parts[i+1:], groups)
		}
		if err := s.appendValue(values[0], p); err != nil {
			return err
		}
	}
	return s.add()
}

// fanOut expands the remaining parts once for each value of p.
func (s *Resolver) fanOut(values [][]byte, p *part, parts []part, groups []group) error {
	n := len(s.key)
	for _, value := range values {
		s.key = s.key[:n]
		if err := s.appendValue(value, p); err != nil {
			return err
		}
		if err := s.expand(parts, groups); err != nil {
			return err
		}
	}
	return nil
}

// appendValue appends a payload value of the part p.
func (s *Resolver) appendValue(value []byte, p *part) error {
	text, err := s.payload.scalar(value, p.path)
	if err == nil {
		s.key, err = appendField(s.key, text, p.raw)
	}
	return err
}

// appendPart appends the text of a part that is not from the payload.
func (s *Resolver) appendPart(p *part) (err error) {
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

// wildcard returns the text that the n-th wildcard matches.
func (s *Resolver) wildcard(n int) string {
	p := &s.rule.pattern
	i := p.wildcards[n]
	if p.tokens[i] == "*" || i == len(s.tokens)-1 {
		return event.DecodeToken(s.tokens[i])
	}
	decoded := make([]string, 0, len(s.tokens)-i)
	for _, token := range s.tokens[i:] {
		decoded = append(decoded, event.DecodeToken(token))
	}
	return strings.Join(decoded, ".")
}

// usualKey is the initial capacity, in bytes, for a key.
const usualKey = 64

// start begins a key with its prefix.
func (s *Resolver) start(prefix string) {
	s.key = append(slices.Grow(s.key[:0], usualKey), prefix...)
}
