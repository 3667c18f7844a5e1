package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// A payload is the JSON of one event, or of a cached value. It is validated once; then paths are followed through the text
// without building a tree of it, which keeps numbers as they were written and does not allocate.
type payload struct {
	noun    string // its name in errors: payload or value
	text    []byte
	checked bool
	err     error // set if it is not JSON
}

func (p *payload) reset(text []byte) { *p = payload{noun: "payload", text: text} }

// parsePath splits a path of field names joined by dots.
func parsePath(text string) (path []string, ok bool) {
	path = strings.Split(text, ".")
	for _, name := range path {
		if name == "" || strings.IndexFunc(name, spaceOrControl) >= 0 {
			return nil, false
		}
	}
	return path, true
}

// check returns an error if the text is not JSON. It validates the text only once.
func (p *payload) check() error {
	if !p.checked {
		p.checked = true
		if !json.Valid(p.text) {
			p.err = fmt.Errorf("%s is not JSON", p.noun)
		}
	}
	return p.err
}

// lookup returns the text of the string, number or boolean at a path of object fields. If an object has a field twice, the
// last one counts, as in encoding/json.
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
	return p.scalar(value, path)
}

// collect appends the value at a path to a list. Where the value is an array, or the path leads through an array of objects,
// it appends the values of each element, at most most of them. The error is that of the first element that lacks a value;
// the values of the others are in the list.
func (p *payload) collect(path []string, list [][]byte, most int) ([][]byte, error) {
	if err := p.check(); err != nil {
		return list, err
	}
	return p.follow(bytes.TrimSpace(p.text), path, 0, list, len(list)+most)
}

// follow follows path[depth:] from a value that is not an array.
func (p *payload) follow(value []byte, path []string, depth int, list [][]byte, most int) ([][]byte, error) {
	for ; depth < len(path); depth++ {
		var err error
		if value, err = p.step(value, path, depth); err != nil {
			return list, err
		}
		if value[0] == '[' {
			return p.fanOut(value, path, depth+1, list, most)
		}
	}
	return append(list, value), nil
}

// fanOut follows path[depth:] from each element of an array. An element that is itself an array has no fields, and no text.
func (p *payload) fanOut(array []byte, path []string, depth int, list [][]byte, most int) ([][]byte, error) {
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

// step returns the field path[depth] of an object.
func (p *payload) step(value []byte, path []string, depth int) ([]byte, error) {
	if value[0] != '{' {
		return nil, fmt.Errorf("%q is %s; want an object with the field %q", p.name(path[:depth]), kind(value), path[depth])
	}
	if value = field(value, path[depth]); value == nil {
		return nil, fmt.Errorf("%q is missing", p.name(path[:depth+1]))
	}
	return value, nil
}

// field returns the value of the last field of that name in an object, or nil.
func field(object []byte, name string) (found []byte) {
	rest := skipSpace(object[1:])
	for rest[0] != '}' {
		key, after := splitValue(rest)
		value, next := splitValue(skipSpace(skipSpace(after)[1:])) // after the colon
		if sameText(key, name) {
			found = value
		}
		if rest = skipSpace(next); rest[0] == ',' {
			rest = skipSpace(rest[1:])
		}
	}
	return found
}

// elements iterates over the elements of an array.
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

// splitValue splits valid JSON after its first value.
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

// nestedEnd returns the index after the object or array at the start of text.
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

// stringEnd returns the index after the closing quote of the string at the start of text.
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

// sameText reports whether a JSON string has this text.
func sameText(quoted []byte, text string) bool {
	plain, err := unquote(quoted)
	return err == nil && string(plain) == text
}

// unquote returns the text of a JSON string. It allocates only if the string has an escape or is not UTF-8.
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

// scalar returns the text of a string, of a number exactly as it was written, or of a boolean. path is the path of the
// value, for errors.
func (p *payload) scalar(value []byte, path []string) ([]byte, error) {
	switch value[0] {
	case '"':
		return unquote(value)
	case '{', '[', 'n':
		return nil, fmt.Errorf("%q is %s; want a string, number or boolean", p.name(path), kind(value))
	}
	return value, nil
}

// kind returns the JSON type of a value, with its article.
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

// name returns a path with its noun in front: payload.address.city. The empty path is the payload itself.
func (p *payload) name(path []string) string {
	return strings.Join(append([]string{p.noun}, path...), ".")
}
