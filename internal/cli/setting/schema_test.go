package setting

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

const committedSchema = "../../../docs/config.schema.json"

// The initial file has every setting, and changes none.
func TestInitialFile(t *testing.T) {
	values, err := parseFile("f.yaml", []byte(InitialFile()), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range table {
		if o, ok := values[s.Key()]; !ok || o.Value != s.value {
			t.Errorf("%s is %q, want %q", s.Key(), o.Value, s.value)
		}
	}
	for line := range strings.Lines(InitialFile()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 130 {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	if flaws := validate(t, InitialFile()); len(flaws) > 0 {
		t.Error(flaws)
	}
}

func TestSchemaIsCommitted(t *testing.T) {
	committed, err := os.ReadFile(committedSchema)
	if err != nil {
		t.Fatal(err)
	}
	var now bytes.Buffer
	if err := term.JSON(&now, Schema()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(committed, now.Bytes()) {
		t.Error("docs/config.schema.json differs from outbox config schema; run: go run ./cmd/outbox config schema > docs/config.schema.json")
	}
}

// The schema accepts whatever the reader accepts. The reverse holds but for some checks that a schema cannot express:
// the range of a time, and addresses.
func TestSchemaAgreesWithTheReader(t *testing.T) {
	values := []string{"", "null", "true", "false", "on", "off", "park", "halt", "accept", "debug", "json", "0", "1", "5", "6", "4096", "10001", "-1", "0.5", "1.5", "0.0",
		"10s", "1h30m", "0s", "5", "soon", "1 s", "7d", "36h", "1s,30s", "[1s, 30s]", "[1s, soon]", "1s,soon", "users.>", "[users.>, orders.>]", "${VAR}", ":9464", "{a: b}", "[[a]]"}
	lookup := func(string) (string, bool) { return "", true }
	beyond := regexp.MustCompile(`^(ack_wait|grace|retention|echo|staleness|listen|nats_inbox): `)
	for _, s := range table {
		for _, value := range values {
			name := strings.TrimPrefix(s.Key(), s.section+".")
			line := name + ": " + value
			file := line + "\n"
			if s.section != "" {
				file = s.section + ":\n  " + line + "\n"
			}
			_, err := parseFile("f.yaml", []byte(file), lookup)
			flaws := validate(t, file)
			if (err != nil) != (len(flaws) > 0) && !(err != nil && beyond.MatchString(line)) {
				t.Errorf("%s: the reader returns %v, the schema %q", line, err, flaws)
			}
		}
	}
	for file, want := range map[string]string{"strem: A\n": "unknown", "relay: {batchsize: 1}\n": "no alternative", "relay:\n": "", "relay: 5\n": "no alternative"} {
		if flaws := strings.Join(validate(t, file), "; "); (flaws == "") != (want == "") || !strings.Contains(flaws, want) {
			t.Errorf("%q: %q, want %q", file, flaws, want)
		}
	}
}

var readSchema = sync.OnceValues(func() (s schema, err error) {
	data, err := os.ReadFile(committedSchema)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
})

// validate returns what the committed schema rejects in a file.
func validate(t *testing.T, file string) []string {
	t.Helper()
	schema, err := readSchema()
	if err != nil {
		t.Fatal(err)
	}
	var root any
	if err := yaml.Unmarshal([]byte(file), &root); err != nil {
		return []string{err.Error()}
	}
	if root == nil {
		return nil
	}
	return schema.validate(schema.property, root)
}

// validate implements the part of JSON Schema that the settings file uses.
func (s *schema) validate(p property, value any) (flaws []string) {
	if p.Ref != "" {
		return s.validate(s.Defs[strings.TrimPrefix(p.Ref, "#/$defs/")], value)
	}
	if len(p.AnyOf) > 0 && !slices.ContainsFunc(p.AnyOf, func(one property) bool { return len(s.validate(one, value)) == 0 }) {
		flaws = append(flaws, "no alternative matches")
	}
	word, isText := value.(string)
	if p.Enum != nil && !(isText && slices.Contains(p.Enum, word)) {
		flaws = append(flaws, "not in the list")
	}
	if p.Pattern != "" && isText && !regexp.MustCompile(p.Pattern).MatchString(word) {
		flaws = append(flaws, "does not match")
	}
	var number float64
	kind := "null"
	switch v := value.(type) {
	case string:
		kind = "string"
	case bool:
		kind = "boolean"
	case uint64:
		kind, number = "integer", float64(v)
	case int64:
		kind, number = "integer", float64(v)
	case float64:
		kind, number = "number", v
	case []any:
		kind = "array"
		for _, item := range v {
			if p.Items != nil {
				flaws = append(flaws, s.validate(*p.Items, item)...)
			}
		}
	case map[string]any:
		kind = "object"
		for name, one := range v {
			if known, ok := p.Properties[name]; ok {
				flaws = append(flaws, s.validate(known, one)...)
			} else if p.Others != nil && !*p.Others {
				flaws = append(flaws, "unknown property "+name)
			}
		}
	}
	if p.Type != "" && p.Type != kind && !(p.Type == "number" && kind == "integer") {
		flaws = append(flaws, kind+" for "+p.Type)
	}
	if p.Least != nil && number < float64(*p.Least) || p.Above != nil && number <= float64(*p.Above) || p.Most != nil && number > float64(*p.Most) {
		flaws = append(flaws, "out of range")
	}
	return flaws
}
