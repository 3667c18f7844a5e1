package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A group is the values of one placeholder: values[from:to] of the resolver.
type group struct{ from, to int }

// make finds the keys of one template.
func (s *Resolver) make(t *template) error {
	s.values, s.groups = s.values[:0], s.groups[:0]
	var lacks error // what an element of an array lacks; the others make their keys
	for i := range t.parts {
		if t.parts[i].from != fromPayload {
			continue
		}
		from := len(s.values)
		var err error
		// One more than may be made is as good as all of them: the limit refuses it.
		if s.values, err = s.payload.collect(t.parts[i].path, s.values, maxMade+1); err != nil && lacks == nil {
			lacks = err
		}
		if len(s.values) == from {
			return lacks // no element, no key
		}
		s.groups = append(s.groups, group{from, len(s.values)})
	}
	for _, prefix := range s.rule.prefixes {
		s.start(prefix)
		if err := s.expand(t.parts, s.groups); err != nil {
			return err // the next prefix would say the same
		}
	}
	return lacks
}

// expand appends the parts to the key and adds it to what was found; groups are what the payload has for
// them. An array makes a key of each of its elements, several make one of every combination.
func (s *Resolver) expand(parts []part, groups []group) error {
	for i := range parts {
		p := &parts[i]
		if p.from != fromPayload {
			if err := s.paste(p); err != nil {
				return err
			}
			continue
		}
		values := s.values[groups[0].from:groups[0].to]
		groups = groups[1:]
		if len(values) > 1 {
			return s.fan(values, p.raw, parts[i+1:], groups)
		}
		if err := s.pasteValue(values[0], p.raw); err != nil {
			return err
		}
	}
	return s.add()
}

// fan goes on with the rest of the parts for each value.
func (s *Resolver) fan(values [][]byte, raw bool, parts []part, groups []group) error {
	n := len(s.key)
	for _, value := range values {
		s.key = s.key[:n]
		if err := s.pasteValue(value, raw); err != nil {
			return err
		}
		if err := s.expand(parts, groups); err != nil {
			return err
		}
	}
	return nil
}

func (s *Resolver) pasteValue(value []byte, raw bool) error {
	text, err := s.payload.scalar(value)
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

// usualKey is how many bytes a key is made in before the room for it has to grow.
const usualKey = 64

// start begins a key with its prefix.
func (s *Resolver) start(prefix string) {
	s.key = append(slices.Grow(s.key[:0], usualKey), prefix...)
}
