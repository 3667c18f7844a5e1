package setting

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

// A property is the part of JSON Schema (draft 2020-12) that the settings file needs.
type property struct {
	Description string     `json:"description,omitempty"`
	Default     any        `json:"default,omitempty"`
	Ref         string     `json:"$ref,omitempty"`
	Type        string     `json:"type,omitempty"`
	Enum        []string   `json:"enum,omitempty"`
	Pattern     string     `json:"pattern,omitempty"`
	Least       *int       `json:"minimum,omitempty"`
	Above       *int       `json:"exclusiveMinimum,omitempty"`
	Most        *int       `json:"maximum,omitempty"`
	Items       *property  `json:"items,omitempty"`
	AnyOf       []property `json:"anyOf,omitempty"`

	Properties map[string]property `json:"properties,omitempty"`
	Others     *bool               `json:"additionalProperties,omitempty"`
}

type schema struct {
	Schema string `json:"$schema"`
	ID     string `json:"$id"`
	Title  string `json:"title"`
	property
	Defs map[string]property `json:"$defs"`
}

// anyText is a value that is read as its text.
var anyText = property{Ref: "#/$defs/text"}

// A time as time.ParseDuration reads it, without a sign.
const (
	timeText = `(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+`
	timeRef  = "#/$defs/time"
)

var textProperty = property{AnyOf: []property{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}

func listOf(item property) property { return property{Type: "array", Items: &item} }

// property describes a setting to an editor. Each may be empty, or come from a variable.
func (s *Setting) property() property {
	alternatives := s.form.schema
	if alternatives == nil {
		alternatives = []property{anyText}
	}
	alternatives = append(slices.Clone(alternatives), property{Ref: "#/$defs/empty"}, property{Ref: "#/$defs/variable"})
	return property{Description: s.plainUsage(), Default: s.inFile(), AnyOf: alternatives}
}

// inFile is the default as it is written in the file.
func (s *Setting) inFile() any {
	if len(s.form.schema) > 0 && slices.Contains([]string{"boolean", "integer", "number"}, s.form.schema[0].Type) {
		return json.RawMessage(s.value)
	}
	return s.value
}

// plainUsage is the usage without the marks around the placeholder of a flag.
func (s *Setting) plainUsage() string { return term.Usage(s.usage) }

// Schema is the JSON Schema of the settings file, to be encoded as JSON. It expresses less than the reader checks:
// nothing of values that contradict each other, for example.
func Schema() any { return fileSchema() }

func fileSchema() schema {
	top := property{Type: "object", Properties: make(map[string]property), Others: new(false)}
	for _, section := range sections() {
		top.Properties[section] = property{AnyOf: []property{
			{Type: "object", Properties: make(map[string]property), Others: new(false)}, {Type: "null"},
		}, Description: "Settings of outbox " + section + "."}
	}
	for _, s := range table {
		in := top.Properties
		if s.section != "" {
			in = top.Properties[s.section].AnyOf[0].Properties
		}
		in[strings.TrimPrefix(s.Key(), s.section+".")] = s.property()
	}
	top.Description = "outbox config show prints each setting and its origin."
	return schema{
		Schema: "https://json-schema.org/draft/2020-12/schema",
		ID:     "https://github.com/seed-6eff6314/outbox-relay/docs/config.schema.json",
		Title:  "Settings of outbox", property: top,
		Defs: map[string]property{
			"text":     textProperty,
			"time":     {Description: "A time such as 500ms, 10s or 72h.", AnyOf: []property{{Type: "string", Pattern: "^" + timeText + "$"}, {Type: "integer", Least: new(0), Most: new(0)}}},
			"variable": {Description: "An environment variable, which must be set.", Type: "string", Pattern: `\$\{[^}]*\}`},
			"empty":    {Description: "Not set.", AnyOf: []property{{Enum: []string{""}}, {Type: "null"}}},
		},
	}
}
