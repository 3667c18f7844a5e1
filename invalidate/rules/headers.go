package rules

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Headers of an event that name keys and tags as they are, for a rule that says so: a JSON array of strings if the
// value begins with [, otherwise keys with white space between them. Upper and lower case do not differ in their names.
const (
	HeaderKeys = "Cache-Keys"
	HeaderTags = "Cache-Tags"
)

// takeHeader finds the keys that the event names itself in a header.
func (s *Resolver) takeHeader(header string) error {
	var first error
	for _, spelling := range spellings(s.event.Headers, header) {
		list, err := listed(s.event.Headers[spelling])
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

// take adds a key as it is, under each prefix.
func (s *Resolver) take(key string) error {
	if key == "" {
		return errors.New("a key is empty")
	}
	if strings.IndexFunc(key, unicode.IsControl) >= 0 {
		return errors.New("a key has a control character")
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

// spellings are the names that an event has a header by, sorted.
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

// listed takes the value of a header apart.
func listed(value string) ([]string, error) {
	if !utf8.ValidString(value) {
		return nil, errors.New("the value is not UTF-8")
	}
	if value = strings.TrimSpace(value); !strings.HasPrefix(value, "[") {
		return strings.Fields(value), nil
	}
	var list []string
	if err := json.Unmarshal([]byte(value), &list); err != nil {
		return nil, errors.New("the value begins with [ and is no JSON array of strings")
	}
	return list, nil
}
