package rules

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A template makes keys of an event: literal text with placeholders in between.
//
//	$1 … $9, ${1} …     the token that the n-th wildcard of the subject stands for, decoded with
//	                    event.DecodeToken; for > the rest of the tokens joined by dots
//	${payload.a.b}      a string, number or boolean of the JSON payload; where it is an array, or a field on the
//	                    way to it is an array of objects, one key for each element
//	${key}              Event.Key
//	${subject}          Event.Subject
//	${header.Name}      a header of the event, Outbox-Op included
//	$$                  a dollar
//
// What a placeholder stands for is encoded, so that it cannot be mistaken for the literal text around it.
// With |raw before the closing brace it is pasted as it is. Braces without a dollar are literal text: they
// are the hash tags of a Redis Cluster.
type template struct {
	text  string
	parts []part
}

// A source is where the text of a part comes from.
type source uint8

const (
	fromLiteral source = iota
	fromToken
	fromPayload
	fromKey
	fromSubject
	fromHeader
)

type part struct {
	from source
	raw  bool
	text string   // the literal text, or the name of the header
	n    int      // which wildcard, from 0
	path []string // fields of the payload
}

// parseTemplate reads a template; noun is what it makes, key or tag, for errors.
func parseTemplate(noun, text string, p *pattern) (template, error) {
	if text == "" {
		return template{}, fmt.Errorf("%s is empty", noun)
	}
	if len(text) > MaxKey {
		return template{}, fmt.Errorf("%s has %d bytes, the limit is %d", noun, len(text), MaxKey)
	}
	t := template{text: text}
	err := t.parse(text, p)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return template{}, fmt.Errorf("%s %q %w", noun, text, err)
	}
	return t, nil
}

// parse splits the text into parts. Its errors read on from "key %q".
func (t *template) parse(text string, p *pattern) error {
	for text != "" {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			i = len(text)
		}
		t.addLiteral(text[:i])
		if text = text[i:]; text == "" {
			return nil
		}
		if len(text) == 1 {
			return fmt.Errorf("ends with a single $, a literal dollar is $$")
		}
		switch c := text[1]; {
		case c == '$':
			t.addLiteral("$")
			text = text[2:]
		case c >= '1' && c <= '9':
			if len(text) > 2 && text[2] >= '0' && text[2] <= '9' {
				return fmt.Errorf("has a digit behind %s, write ${%c} to end the placeholder", text[:2], c)
			}
			if err := t.addToken(text[1:2], false, p); err != nil {
				return err
			}
			text = text[2:]
		case c == '{':
			end := strings.IndexByte(text, '}')
			if end < 0 {
				return fmt.Errorf("has ${ without a closing brace")
			}
			if err := t.addNamed(text[2:end], p); err != nil {
				return err
			}
			text = text[end+1:]
		default:
			return fmt.Errorf("has $ before %q, a literal dollar is $$", text[1:])
		}
	}
	return nil
}

func (t *template) addLiteral(text string) {
	if text == "" {
		return
	}
	if n := len(t.parts); n > 0 && t.parts[n-1].from == fromLiteral {
		t.parts[n-1].text += text
		return
	}
	t.parts = append(t.parts, part{from: fromLiteral, text: text})
}

func (t *template) addToken(digits string, raw bool, p *pattern) error {
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 {
		return fmt.Errorf("has ${%s}, wildcards are counted from 1", digits)
	}
	if n > len(p.wildcards) {
		return fmt.Errorf("has $%d, but the subject %q has %s", n, p.text, count(len(p.wildcards), "wildcard"))
	}
	t.parts = append(t.parts, part{from: fromToken, raw: raw, n: n - 1})
	return nil
}

// addNamed adds the placeholder whose braces hold the text.
func (t *template) addNamed(inner string, p *pattern) error {
	name, option, hasOption := strings.Cut(inner, "|")
	if hasOption && option != "raw" {
		return fmt.Errorf("has ${%s}, the only option is |raw", inner)
	}
	root, rest, hasRest := strings.Cut(name, ".")
	switch {
	case name != "" && strings.Trim(name, "0123456789") == "":
		return t.addToken(name, hasOption, p)
	case name == "key":
		t.parts = append(t.parts, part{from: fromKey, raw: hasOption})
	case name == "subject":
		t.parts = append(t.parts, part{from: fromSubject, raw: hasOption})
	case root == "payload" && hasRest:
		path, ok := parsePath(rest)
		if !ok {
			return fmt.Errorf("has ${%s}, a path is field names joined by dots", inner)
		}
		t.parts = append(t.parts, part{from: fromPayload, raw: hasOption, path: path})
	case root == "header" && hasRest:
		if !eventHeader(rest) {
			return fmt.Errorf("has ${%s}, events have no such header", inner)
		}
		t.parts = append(t.parts, part{from: fromHeader, raw: hasOption, text: rest})
	default:
		return fmt.Errorf("has ${%s}, known are ${1}, ${payload.field}, ${key}, ${subject} and ${header.Name}", inner)
	}
	return nil
}

// eventHeader says whether Event.Headers can have a header of that name.
func eventHeader(name string) bool {
	lower := strings.ToLower(name)
	return name != "" && strings.IndexFunc(name, notInHeaderName) < 0 && !strings.HasPrefix(lower, "nats-") &&
		lower != "content-type" && (name == event.HeaderOp || !strings.HasPrefix(lower, "outbox-"))
}

func notInHeaderName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// check refuses a template that would let an event name any key at all, unless every placeholder says |raw,
// and literal text that no key should have. Its errors read on from "key %q".
func (t *template) check() error {
	literal, encoded := 0, false
	for _, part := range t.parts {
		if part.from != fromLiteral {
			encoded = encoded || !part.raw
			continue
		}
		literal += len(part.text)
		if strings.IndexFunc(part.text, unicode.IsControl) >= 0 {
			return fmt.Errorf("has a control character")
		}
	}
	if literal == 0 && encoded {
		return fmt.Errorf("has no literal text: give it some, or let the event name whole keys with |raw")
	}
	return nil
}

// size returns how many bytes every key of the template has at least.
func (t *template) size() (n int) {
	for _, part := range t.parts {
		if part.from == fromLiteral {
			n += len(part.text)
		}
	}
	return n
}

const hexDigits = "0123456789ABCDEF"

// appendField appends what a placeholder stands for. Encoded, each of % : { } * ? [ ], white space, control
// characters and bytes that are not UTF-8 becomes %XX of its bytes; raw, control characters are an error.
func appendField[T string | []byte](key []byte, field T, raw bool) ([]byte, error) {
	plain := 0 // field[plain:i] is still to be copied
	for i := 0; i < len(field); {
		c, size := rune(field[i]), 1
		if c >= utf8.RuneSelf {
			c, size = decodeRune(field[i:])
		}
		switch {
		case raw && unicode.IsControl(c):
			return key, fmt.Errorf("a control character cannot be pasted raw")
		case !raw && reserved(c, size):
			key = append(key, field[plain:i]...)
			for _, b := range []byte(field[i : i+size]) {
				key = append(key, '%', hexDigits[b>>4], hexDigits[b&15])
			}
			plain = i + size
		}
		i += size
	}
	return append(key, field[plain:]...), nil
}

func decodeRune[T string | []byte](text T) (rune, int) {
	head := [utf8.UTFMax]byte{}
	return utf8.DecodeRune(head[:copy(head[:], text)])
}

func reserved(c rune, size int) bool {
	switch c {
	case '%', ':', '{', '}', '*', '?', '[', ']':
		return true
	case utf8.RuneError:
		return size == 1
	}
	return unicode.IsSpace(c) || unicode.IsControl(c)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
