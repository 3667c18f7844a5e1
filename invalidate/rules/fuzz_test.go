package rules_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Parse returns rules or an error with a position for any file, and no rule panics.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../testdata/rules/*.yaml")
	fatal(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		fatal(f, err)
		f.Add(data)
	}
	for _, field := range []string{
		"echo: off", "echo: [1s, 30s]", "echo: [off]", "echo: ~", "echo: {}", "echo: 1e9h", "echo: -1s", "echo: [[1s]]", "ttl: 1h", "ttl: [54m, 66m]", "ttl: []", "ttl: |\n      1h",
		"headers: true", "headers: yes", "headers: 1", "tags: [\"t:$1\", \"t:${payload.user_id}\"]", "tags: {}", "version: {event: user_id, value: \"hash:v\"}", "version: {event: \"\"}",
		"version: []", "version: {event: a, value: hash}", "prefix: [\"\", \"p:\"]", "keys: [\"o:${payload.items.id}\"]",
	} {
		f.Add([]byte("rules:\n  - subject: [users.*.updated, orders.>]\n    keys: [a]\n    " + field + "\n"))
		f.Add([]byte("rules: [{subject: a, " + field + "}]"))
	}
	f.Add([]byte("rules:\n  - subject: >\n    keys: [a]\n"))
	f.Add([]byte("rules:\n  - subject: *.updated\n    keys: [a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := rules.Parse("f", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("error without a position: %v", err)
			}
			return
		}
		try(t, set)
		try(t, set.Checkable())
		for _, delay := range set.Delays([]time.Duration{time.Second}) {
			try(t, set.Echo(delay, []time.Duration{time.Second}))
			if delay < rules.MinEcho || delay > rules.MaxEcho {
				t.Errorf("delay %v", delay)
			}
		}
	})
}

// try resolves some events and checks what must hold for each deletion.
func try(t *testing.T, set *rules.Set) {
	t.Helper()
	set.Subjects()
	set.EchoTexts()
	for _, subject := range []string{"users.42.updated", "orders.1.2.3", "a"} {
		ev := event.Event{
			Subject: subject, Payload: []byte(`{"user_id": [1, 2], "items": [{"id": 1}, {"id": [2]}]}`),
			Headers: map[string]string{"cache-keys": "a b", "Cache-Tags": `["a"]`},
		}
		list, err := set.Resolve(&ev)
		if err != nil && !errors.Is(err, rules.ErrPoison) {
			t.Errorf("resolve: %v", err)
		}
		for _, d := range list {
			if d.Key == "" || len(d.Key) > rules.MaxKey {
				t.Errorf("key %q", d.Key)
			}
			if d.TTL.Min > d.TTL.Max || (d.TTL.Min == 0) != (d.TTL.Max == 0) || (d.Due == "") != (d.Version == nil) {
				t.Errorf("key %q: TTL %v, due %q, version %v", d.Key, d.TTL, d.Due, d.Version)
			}
		}
		explained := set.Explain(&ev)
		if explained.Keys+explained.Tags != len(list) || explained.Poison != (err != nil) {
			t.Errorf("explained %d keys, %d tags, poison %v; resolved %d and %v", explained.Keys, explained.Tags, explained.Poison, len(list), err)
		}
	}
}

// ParseExamples returns examples or an error with a position for any file.
func FuzzExamples(f *testing.F) {
	files, err := filepath.Glob("../../testdata/rules/examples/*.yaml")
	fatal(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		fatal(f, err)
		f.Add(data)
	}
	for _, payload := range []string{"{a: {b: [1, 2.5, true, null, x]}}", "|\n  {}", "- a\n- b", "0x10", "1e400", "-", "? a\n: b", "[[[[]]]]", "\"\\u0000\"", "2024-05-01", ".inf"} {
		f.Add([]byte("examples:\n  - subject: a\n    payload: " + payload + "\n"))
	}
	set := parse(f, `rules: [{subject: a, keys: ["k:${payload.a.b}"]}]`)
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := rules.ParseExamples("f", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		for i := range list {
			if err := list[i].Event.Validate(); err != nil {
				t.Errorf("event: %v", err)
			}
			set.Check(&list[i])
		}
	})
}

// For any headers of an event, the keys are those that the headers list, and only for a rule with headers: true.
func FuzzHeaders(f *testing.F) {
	open := parse(f, `rules: [{subject: a, headers: true, prefix: ["p:"]}]`)
	closed := parse(f, `rules: [{subject: a, keys: [k]}]`)
	for _, seed := range []string{"a b", `["a b", "c"]`, "[", `["a", 1]`, `[null]`, "\x00", " \t", `["\u0000"]`, "\xff", "[]", `["a"] x`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		ev := event.Event{Subject: "a", Headers: map[string]string{"cache-Keys": value}}
		list, err := closed.Resolve(&ev)
		same(t, "closed", format(list), "k@0")
		fatal(t, err)
		list, err = open.Resolve(&ev)
		if err != nil && !errors.Is(err, rules.ErrPoison) {
			t.Fatal(err)
		}
		listed := strings.Fields(value)
		if strings.HasPrefix(strings.TrimSpace(value), "[") {
			listed = nil
			_ = json.Unmarshal([]byte(value), &listed) // the keys that this omits are checked below
		}
		found := make(map[string]bool)
		for _, d := range list {
			key, ok := strings.CutPrefix(d.Key, "p:")
			found[key] = true
			if !ok || key == "" || strings.IndexFunc(key, unicode.IsControl) >= 0 || !slices.Contains(listed, key) || d.Tag {
				t.Errorf("key %q of %q", d.Key, value)
			}
		}
		for _, key := range listed {
			if err == nil && !found[key] {
				t.Errorf("%q of %q is missing", key, value)
			}
		}
	})
}

// For any event, a field in a key is the encoded field: it can be decoded, and no part of it can be mistaken for the literal
// text around it.
func FuzzResolve(f *testing.F) {
	set := oneRule(f, "t.>", "s:$1", "p:{${payload.a.b}}:${payload.c}", "k:${key}", "r:${payload.c|raw}", "h:${header.X}", "o:${payload.o.i}")
	f.Add("42", []byte(`{"a": {"b": 1}, "c": "x"}`), "key", "value")
	f.Add("%3A", []byte(`{"c": [1, "\u003a", true], "a": {"b": "}{"}}`), "a:b", "\x00")
	f.Add("a.b", []byte(`{"a": [], "a": {"b": -1.0e5}, "c": ["]", "\"", "\\"]}`), " ", "\u00a0")
	f.Add("x", []byte(`{"o": [{"i": 1}, {"i": ["a", "b"]}, {"i": "}:"}]}`), "", "")
	f.Add("x", []byte(`{"o": [[{"i": 1}], 7, {}, {"i": [[1]]}]}`), "", "")
	f.Add("x", []byte(`{"o": {"i": [true, null]}}`), "", "")
	f.Fuzz(func(t *testing.T, token string, payload []byte, key, header string) {
		list, err := set.Resolve(&event.Event{
			Subject: "t." + token, Payload: payload, Key: key, Headers: map[string]string{"X": header},
		})
		if err != nil && !errors.Is(err, rules.ErrPoison) {
			t.Fatalf("error %v", err)
		}
		fields, ok := decodePayload(payload)
		for _, d := range list {
			prefix, rest := d.Key[:2], d.Key[2:]
			switch prefix {
			case "s:":
				plain(t, rest, decodeTokens(token))
			case "k:":
				plain(t, rest, key)
			case "h:":
				plain(t, rest, header)
			case "p:":
				b, c, found := strings.Cut(strings.TrimPrefix(rest, "{"), "}:")
				if !found || !ok {
					t.Fatalf("key %q of payload %q", d.Key, payload)
				}
				plain(t, b, fields[0]...)
				plain(t, c, fields[1]...)
			case "o:":
				if !ok {
					t.Fatalf("key %q of payload %q", d.Key, payload)
				}
				plain(t, rest, fields[2]...)
			case "r:":
				if strings.IndexFunc(rest, unicode.IsControl) >= 0 {
					t.Errorf("raw key %q", d.Key)
				}
			}
		}
	})
}

func decodeTokens(tokens string) string {
	list := strings.Split(tokens, ".")
	for i := range list {
		list[i] = event.DecodeToken(list[i])
	}
	return strings.Join(list, ".")
}

// decodePayload reads a.b, c and o.i with encoding/json.
func decodePayload(payload []byte) (fields [3][]string, ok bool) {
	var content map[string]any
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if d.Decode(&content) != nil {
		return fields, false
	}
	// A map keeps the last of several fields with the same name, like the resolver.
	return [3][]string{each(content["a"], "b"), texts(content["c"]), each(content["o"], "i")}, true
}

// each reads a field of an object, or of each object in an array.
func each(value any, name string) (list []string) {
	switch v := value.(type) {
	case map[string]any:
		return texts(v[name])
	case []any:
		for _, element := range v {
			if object, ok := element.(map[string]any); ok {
				list = append(list, texts(object[name])...)
			}
		}
	}
	return list
}

func texts(value any) (list []string) {
	switch v := value.(type) {
	case string:
		return []string{v}
	case json.Number:
		return []string{v.String()}
	case bool:
		return []string{map[bool]string{true: "true", false: "false"}[v]}
	case []any:
		for _, element := range v {
			list = append(list, texts(element)...)
		}
	}
	return list
}

// plain checks that an encoded text has no reserved character and decodes to one of the wanted texts.
func plain(t *testing.T, encoded string, want ...string) {
	t.Helper()
	if i := strings.IndexFunc(encoded, func(r rune) bool {
		return strings.ContainsRune(":{}*?[]", r) || unicode.IsSpace(r) || unicode.IsControl(r)
	}); i >= 0 || !utf8.ValidString(encoded) {
		t.Errorf("%q has a reserved character at %d", encoded, i)
	}
	var decoded []byte
	for i := 0; i < len(encoded); i++ {
		if encoded[i] != '%' {
			decoded = append(decoded, encoded[i])
			continue
		}
		const digits = "0123456789ABCDEF"
		decoded = append(decoded, byte(strings.IndexByte(digits, encoded[i+1])<<4|strings.IndexByte(digits, encoded[i+2])))
		i += 2
	}
	for _, text := range want {
		if string(decoded) == text {
			return
		}
	}
	t.Errorf("%q decodes to %q, want one of %q", encoded, decoded, want)
}
