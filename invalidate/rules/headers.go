package rules

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Headers of an event that name keys and tags exactly, for rules with headers: true. If the value begins with [, it must be
// a JSON array of strings; otherwise it is a list separated by white space. The case of the header names does not matter.
const (
	HeaderKeys = "Cache-Keys"
	HeaderTags = "Cache-Tags"
)

// takeHeader adds the keys that the event names in a header.
func (s *Resolver) takeHeader(header string) error {
	var first error
	for _, spelling := range spellings(s.event.Headers, header) {
		list, err := parseList(s.event.Headers[spelling])
		if err != nil && first == nil {
			first = err
		}
		for _, key := range list {
			if err := s.take(key); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// take adds a key unchanged, under each prefix.
func (s *Resolver) take(key string) error {
	if key == "" {
		return errors.New("the list has an empty key")
	}
	if strings.IndexFunc(key, unicode.IsControl) >= 0 {
		return errors.New("the list has a key with a control character")
	}
	for _, prefix := range s.rule.prefixes {
		s.start(prefix)
		s.key = append(s.key, key...)
		if err := s.add(); err != nil {
			return err
		}
	}
	return nil
}

// spellings returns the names of a header in all cases that the event uses, sorted.
func spellings(headers map[string]string, header string) []string {
	var found []string
	for name := range headers {
		if len(name) == len(header) && strings.EqualFold(name, header) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// parseList splits the value of a header into keys.
func parseList(value string) ([]string, error) {
	if !utf8.ValidString(value) {
		return nil, errors.New("the value is not UTF-8")
	}
	if value = strings.TrimSpace(value); !strings.HasPrefix(value, "[") {
		return strings.Fields(value), nil
	}
	var list []string
	if err := json.Unmarshal([]byte(value), &list); err != nil {
		return nil, errors.New("the value begins with [ but is not a JSON array of strings")
	}
	return list, nil
}
