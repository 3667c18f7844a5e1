package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// A payload is the JSON of one event, looked into without building a tree of it: it is checked once, and
// then paths are followed through the text. That keeps numbers as they were written and allocates nothing.
type payload struct {
	text    []byte
	checked bool
	err     error // why it is not JSON
}

func (p *payload) reset(text []byte) { *p = payload{text: text} }

// lookup returns the text of the value at a path of object fields. Of a field that is there twice the last
// one counts, as in encoding/json.
func (p *payload) lookup(path []string) ([]byte, error) {
	if !p.checked {
		p.checked = true
		if !json.Valid(p.text) {
			p.err = errors.New("payload is not JSON")
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	value := bytes.TrimSpace(p.text)
	for depth, name := range path {
		if value[0] != '{' {
			return nil, fmt.Errorf("payload has %s where %q has to have the field %q", kind(value), pathText(path[:depth]), name)
		}
		if value = field(value, name); value == nil {
			return nil, fmt.Errorf("payload has no %q", pathText(path[:depth+1]))
		}
	}
	return value, nil
}

// field returns the value of the last field of that name in an object, nil if there is none.
func field(object []byte, name string) (found []byte) {
	rest := skipSpace(object[1:])
	for rest[0] != '}' {
		key, after := splitValue(rest)
		value, next := splitValue(skipSpace(skipSpace(after)[1:])) // behind the colon
		if sameText(key, name) {
			found = value
		}
		if rest = skipSpace(next); rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
	}
	return found
}

// elements calls yield with each element of an array.
func elements(array []byte, yield func(element []byte) error) error {
	rest := skipSpace(array[1:])
	for rest[0] != ']' {
		element, next := splitValue(rest)
		if err := yield(element); err != nil {
			return err
		}
		if rest = skipSpace(next); rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
	}
	return nil
}

// splitValue cuts the value at the beginning of valid JSON from what follows it.
func splitValue(text []byte) (value, rest []byte) {
	n := 0
	switch text[0] {
	case '"':
		n = stringEnd(text)
	case '{', '[':
		n = nestedEnd(text)
	default:
		for n < len(text) && !endsScalar(text[n]) {
			n++
		}
	}
	return text[:n], text[n:]
}

// nestedEnd returns the index behind the object or array that text begins with.
func nestedEnd(text []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

func endsScalar(c byte) bool {
	return c == ',' || c == ']' || c == '}' || c == ' ' || c == '\t' || c == '\r' || c == '\n'
}

// stringEnd returns the index behind the closing quote of the string that text begins with.
func stringEnd(text []byte) int {
	for i := 1; ; i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

func skipSpace(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\r' || text[0] == '\n') {
		text = text[1:]
	}
	return text
}

// sameText compares a JSON string with a text.
func sameText(quoted []byte, text string) bool {
	plain, err := unquote(quoted)
	return err == nil && string(plain) == text
}

// unquote returns what a JSON string says. It allocates only if the string has an escape.
func unquote(quoted []byte) ([]byte, error) {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return inner, nil
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, fmt.Errorf("read string: %w", err)
	}
	return []byte(text), nil
}

// scalar returns the text of a string, a number exactly as it was written, or a boolean.
func scalar(value []byte) ([]byte, error) {
	switch value[0] {
	case '"':
		return unquote(value)
	case '{', '[', 'n':
		return nil, fmt.Errorf("payload has %s where a string, number or boolean is due", kind(value))
	}
	return value, nil
}

func kind(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	}
	return "a number"
}

// pathText names a place in the payload; the payload itself is "payload".
func pathText(path []string) string {
	text := "payload"
	for _, name := range path {
		text += "." + name
	}
	return text
}
