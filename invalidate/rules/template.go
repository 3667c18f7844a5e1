package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A template makes the keys of an event from literal text and placeholders. The package documentation lists the
// placeholders. The text of a placeholder is encoded, so that it cannot be mistaken for the literal text around it; |raw
// before the closing brace disables that.
type template struct {
	text  string
	parts []part
}

// A source is the origin of the text of a part.
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

// parseTemplate parses a template. noun is key or tag, for errors.
func parseTemplate(noun, text string, p *pattern) (template, error) {
	if text == "" {
		return template{}, fmt.Errorf("empty %s; want a template such as user:$1", noun)
	}
	if len(text) > MaxKey {
		return template{}, fmt.Errorf("%s of %d bytes; want at most %d", noun, len(text), MaxKey)
	}
	t := template{text: text}
	err := t.parse(text, p)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return template{}, fmt.Errorf("invalid %s %q: %w", noun, text, err)
	}
	return t, nil
}

// parse splits the text into parts.
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
			return errors.New("single $ at the end; write $$ for a literal dollar")
		}
		switch c := text[1]; {
		case c == '$':
			t.addLiteral("$")
			text = text[2:]
		case c >= '1' && c <= '9':
			if len(text) > 2 && text[2] >= '0' && text[2] <= '9' {
				return fmt.Errorf("digit after %s; write ${%c} to end the placeholder", text[:2], c)
			}
			if err := t.addToken(text[1:2], false, p); err != nil {
				return err
			}
			text = text[2:]
		case c == '{':
			end := strings.IndexByte(text, '}')
			if end < 0 {
				return errors.New("${ without a closing brace; add }, or write $$ for a literal dollar")
			}
			if err := t.addNamed(text[2:end], p); err != nil {
				return err
			}
			text = text[end+1:]
		default:
			return fmt.Errorf("$ before %q; write $$ for a literal dollar", text[1:])
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
		return fmt.Errorf("invalid placeholder ${%s}; want a number from 1", digits)
	}
	if n > len(p.wildcards) {
		return fmt.Errorf("placeholder $%d without a wildcard; the subject %q has %s", n, p.text, count(len(p.wildcards), "wildcard"))
	}
	t.parts = append(t.parts, part{from: fromToken, raw: raw, n: n - 1})
	return nil
}

// addNamed adds the placeholder whose text between the braces is inner.
func (t *template) addNamed(inner string, p *pattern) error {
	name, option, hasOption := strings.Cut(inner, "|")
	if hasOption && option != "raw" {
		return fmt.Errorf("unknown option in ${%s}; want |raw or none", inner)
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
			return fmt.Errorf("invalid path in ${%s}; want field names joined by dots", inner)
		}
		t.parts = append(t.parts, part{from: fromPayload, raw: hasOption, path: path})
	case root == "header" && hasRest:
		if !eventHeader(rest) {
			return fmt.Errorf("invalid header in ${%s}; want one that events can have", inner)
		}
		t.parts = append(t.parts, part{from: fromHeader, raw: hasOption, text: rest})
	default:
		return fmt.Errorf("unknown placeholder ${%s}; want ${1}, ${payload.field}, ${key}, ${subject} or ${header.Name}", inner)
	}
	return nil
}

// eventHeader reports whether Event.Headers can have a header of that name.
func eventHeader(name string) bool {
	lower := strings.ToLower(name)
	return name != "" && strings.IndexFunc(name, notInHeaderName) < 0 && !strings.HasPrefix(lower, "nats-") &&
		lower != "content-type" && (name == event.HeaderOp || !strings.HasPrefix(lower, "outbox-"))
}

func notInHeaderName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// check rejects control characters in the literal text, and a template without literal text, with which an event could name
// any key, unless every placeholder has |raw.
func (t *template) check() error {
	literal, encoded := 0, false
	for _, part := range t.parts {
		if part.from != fromLiteral {
			encoded = encoded || !part.raw
			continue
		}
		literal += len(part.text)
		if strings.IndexFunc(part.text, unicode.IsControl) >= 0 {
			return errors.New("control character in the text; remove it")
		}
	}
	if literal == 0 && encoded {
		return errors.New("no literal text; add some, or write |raw in every placeholder to let events name whole keys")
	}
	return nil
}

// size returns the smallest possible size of a key, in bytes.
func (t *template) size() (n int) {
	for _, part := range t.parts {
		if part.from == fromLiteral {
			n += len(part.text)
		}
	}
	return n
}

const hexDigits = "0123456789ABCDEF"

// appendField appends the text of a placeholder. If raw is false, it encodes % : { } * ? [ ], white space, control
// characters and bytes that are not UTF-8 as %XX for each byte; if raw is true, it returns an error for control characters.
func appendField[T string | []byte](key []byte, field T, raw bool) ([]byte, error) {
	plain := 0 // field[plain:i] is not copied yet
	for i := 0; i < len(field); {
		c, size := rune(field[i]), 1
		if c >= utf8.RuneSelf {
			c, size = decodeRune(field[i:])
		}
		switch {
		case raw && unicode.IsControl(c):
			return key, errors.New("control character in the value of a placeholder with |raw")
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

// reserved reports whether a character is encoded. size is the number of its bytes.
func reserved(c rune, size int) bool {
	switch c {
	case '%', ':', '{', '}', '*', '?', '[', ']':
		return true
	case utf8.RuneError:
		return size == 1
	}
	return unicode.IsSpace(c) || unicode.IsControl(c)
}

// count writes a number with its noun, as in 0 wildcards and 1 wildcard.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
