package rules_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// Whatever a rule file holds, it is read or refused, and rules that were read never panic.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("../../testdata/rules/*.yaml")
	fatal(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		fatal(f, err)
		f.Add(data)
	}
	f.Add([]byte("rules:\n  - subject: >\n    keys: [a]\n"))
	f.Add([]byte("rules:\n  - subject: *.updated\n    keys: [a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := rules.Parse("f", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		set.Subjects()
		for _, subject := range []string{"users.42.updated", "orders.1.2.3", "a"} {
			list, err := set.Resolve(&outbox.Event{Subject: subject, Payload: []byte(`{"user_id": [1, 2]}`)})
			if err != nil && !errors.Is(err, rules.ErrPoison) {
				t.Errorf("resolve: %v", err)
			}
			for _, d := range list {
				if d.Key == "" || len(d.Key) > rules.MaxKey {
					t.Errorf("key %q", d.Key)
				}
			}
		}
	})
}

// Whatever an event holds, a field in a key is the field encoded: it can be decoded, and nothing in it can
// be taken for the literal text around it.
func FuzzResolve(f *testing.F) {
	set := oneRule(f, "t.>", "s:$1", "p:{${payload.a.b}}:${payload.c}", "k:${key}", "r:${payload.c|raw}", "h:${header.X}")
	f.Add("42", []byte(`{"a": {"b": 1}, "c": "x"}`), "key", "value")
	f.Add("%3A", []byte(`{"c": [1, "\u003a", true], "a": {"b": "}{"}}`), "a:b", "\x00")
	f.Add("a.b", []byte(`{"a": [], "a": {"b": -1.0e5}, "c": ["]", "\"", "\\"]}`), " ", "\u00a0")
	f.Fuzz(func(t *testing.T, token string, payload []byte, key, header string) {
		list, err := set.Resolve(&outbox.Event{
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
		list[i] = outbox.DecodeToken(list[i])
	}
	return strings.Join(list, ".")
}

// decodePayload reads a.b and c the way encoding/json does.
func decodePayload(payload []byte) (fields [2][]string, ok bool) {
	var content map[string]any
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if d.Decode(&content) != nil {
		return fields, false
	}
	// A map keeps the last of equal names whole, as the resolver does.
	a, _ := content["a"].(map[string]any)
	return [2][]string{texts(a["b"]), texts(content["c"])}, true
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

// plain checks that an encoded text has nothing reserved in it and is one of the wanted texts.
func plain(t *testing.T, encoded string, want ...string) {
	t.Helper()
	if i := strings.IndexFunc(encoded, func(r rune) bool {
		return strings.ContainsRune(":{}*?[]", r) || unicode.IsSpace(r) || unicode.IsControl(r)
	}); i >= 0 || !utf8.ValidString(encoded) {
		t.Errorf("%q has something reserved at %d", encoded, i)
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
