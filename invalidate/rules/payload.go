package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// A payload is the JSON of one event, or of a cached value, looked into without building a tree of it: it is
// checked once, and then paths are followed through the text. That keeps numbers as they were written and
// allocates nothing.
type payload struct {
	noun    string // what errors call it
	text    []byte
	checked bool
	err     error // why it is not JSON
}

func (p *payload) reset(text []byte) { *p = payload{noun: "payload", text: text} }

// parsePath takes a path of field names joined by dots apart.
func parsePath(text string) (path []string, ok bool) {
	path = strings.Split(text, ".")
	for _, name := range path {
		if name == "" || strings.IndexFunc(name, blankOrControl) >= 0 {
			return nil, false
		}
	}
	return path, true
}

// check says why the text is not JSON, after looking once.
func (p *payload) check() error {
	if !p.checked {
		p.checked = true
		if !json.Valid(p.text) {
			p.err = fmt.Errorf("%s is not JSON", p.noun)
		}
	}
	return p.err
}

// lookup returns the text of the string, number or boolean at a path of object fields. Of a field that is there
// twice the last one counts, as in encoding/json.
func (p *payload) lookup(path []string) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	value := bytes.TrimSpace(p.text)
	for depth := range path {
		var err error
		if value, err = p.step(value, path, depth); err != nil {
			return nil, err
		}
	}
	return p.scalar(value)
}

// collect appends the text of the value at a path to a list. Where the value is an array, and wherever on the way
// there is an array of objects, it appends those of each element, most of them at the most. The error is that of the
// first element which lacks something; the others are in the list.
func (p *payload) collect(path []string, list [][]byte, most int) ([][]byte, error) {
	if err := p.check(); err != nil {
		return list, err
	}
	return p.follow(bytes.TrimSpace(p.text), path, 0, list, len(list)+most)
}

// follow goes on from a value that the path leads to with its first depth names, and that is no array.
func (p *payload) follow(value []byte, path []string, depth int, list [][]byte, most int) ([][]byte, error) {
	for ; depth < len(path); depth++ {
		var err error
		if value, err = p.step(value, path, depth); err != nil {
			return list, err
		}
		if value[0] == '[' {
			return p.fan(value, path, depth+1, list, most)
		}
	}
	return append(list, value), nil
}

// fan follows the rest of the path from each element of an array. An array in an array is no way to go on.
func (p *payload) fan(array []byte, path []string, depth int, list [][]byte, most int) ([][]byte, error) {
	var first error
	for element := range elements(array) {
		var err error
		if list, err = p.follow(element, path, depth, list, most); err != nil && first == nil {
			first = err
		}
		if len(list) >= most {
			break
		}
	}
	return list, first
}

// step goes from an object to its field that the path names at a depth.
func (p *payload) step(value []byte, path []string, depth int) ([]byte, error) {
	if value[0] != '{' {
		return nil, fmt.Errorf("%s has %s where %q has to have the field %q", p.noun, kind(value), p.place(path[:depth]), path[depth])
	}
	if value = field(value, path[depth]); value == nil {
		return nil, fmt.Errorf("%s has no %q", p.noun, p.place(path[:depth+1]))
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

// elements are those of an array.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		rest := skipSpace(array[1:])
		for rest[0] != ']' {
			element, next := splitValue(rest)
			if !yield(element) {
				return
			}
			if rest = skipSpace(next); rest[0] == ',' {
				rest = skipSpace(rest[1:])
			}
		}
	}
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
func (p *payload) scalar(value []byte) ([]byte, error) {
	switch value[0] {
	case '"':
		return unquote(value)
	case '{', '[', 'n':
		return nil, fmt.Errorf("%s has %s where a string, number or boolean is due", p.noun, kind(value))
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

// place names a place in the payload; the payload itself is "payload".
func (p *payload) place(path []string) string {
	return strings.Join(append([]string{p.noun}, path...), ".")
}
