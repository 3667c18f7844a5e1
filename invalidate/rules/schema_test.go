package rules_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

type property struct {
	Type     string
	Const    any
	Ref      string `json:"$ref"`
	MinItems int
	MaxItems int
	Items    struct {
		Enum      []string
		MaxLength int
	}
	AnyOf      []property
	Pattern    string
	Properties map[string]property
	Required   []string
}

type object struct {
	AdditionalProperties *bool
	Required             []string
	Properties           map[string]property
}

type schema struct {
	object
	Defs struct {
		Rule    object
		Subject property
		Time    property
	} `json:"$defs"`
}

// fieldsOf returns the YAML names of the fields of a type and those that are required, and checks their types in the schema.
func fieldsOf(t *testing.T, typ reflect.Type, o map[string]property) (fields, required []string) {
	t.Helper()
	for field := range typ.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		fields = append(fields, name)
		if options != "omitempty" {
			required = append(required, name)
		}
		want := map[reflect.Kind]string{reflect.String: "string", reflect.Slice: "array", reflect.Bool: "boolean", reflect.Pointer: "object"}[field.Type.Kind()]
		if field.Type == reflect.TypeFor[rules.Texts]() {
			same(t, "choices of "+name, o[name].AnyOf[len(o[name].AnyOf)-1].Type, "array")
			want = ""
		}
		same(t, "type of "+name, o[name].Type, want)
	}
	slices.Sort(fields)
	return fields, required
}

// The schema and the Go types agree on fields and required fields.
func TestSchema(t *testing.T) {
	t.Parallel()
	var s schema
	fatal(t, json.Unmarshal([]byte(rules.Schema()), &s))
	same(t, "top", slices.Collect(maps.Keys(s.Properties)), []string{"rules"})
	same(t, "rules", s.Properties["rules"].MaxItems, rules.MaxRules)
	fields, required := fieldsOf(t, reflect.TypeFor[rules.Rule](), s.Defs.Rule.Properties)
	same(t, "fields", slices.Sorted(maps.Keys(s.Defs.Rule.Properties)), fields)
	same(t, "required", s.Defs.Rule.Required, required)
	version := s.Defs.Rule.Properties["version"]
	fields, required = fieldsOf(t, reflect.TypeFor[rules.VersionPaths](), version.Properties)
	same(t, "fields of version", slices.Sorted(maps.Keys(version.Properties)), fields)
	same(t, "required of version", version.Required, required)
	for _, o := range []object{s.object, s.Defs.Rule} {
		if o.AdditionalProperties == nil || *o.AdditionalProperties {
			t.Error("the schema allows unknown fields")
		}
	}
}

func TestSchemaLimits(t *testing.T) {
	t.Parallel()
	var s schema
	fatal(t, json.Unmarshal([]byte(rules.Schema()), &s))
	p := s.Defs.Rule.Properties
	echo, ttl := p["echo"].AnyOf, p["ttl"].AnyOf
	same(t, "limits", []int{
		p["keys"].MaxItems, p["tags"].MaxItems, p["prefix"].MaxItems, p["subject"].AnyOf[1].MaxItems, echo[2].MaxItems, ttl[1].MaxItems,
		p["keys"].Items.MaxLength, p["tags"].Items.MaxLength,
	}, []int{rules.MaxRuleKeys, rules.MaxRuleKeys, rules.MaxRulePrefixes, rules.MaxSubjects, rules.MaxEchoes, 2, rules.MaxKey, rules.MaxKey})
	same(t, "no echo", echo[0].Const, "off")
	for _, op := range append(p["on"].Items.Enum, "insert", "update", "delete") {
		parse(t, "rules: [{subject: a, keys: [k], on: ["+op+"]}]")
	}
	isTime := regexp.MustCompile(s.Defs.Time.Pattern)
	for _, text := range []string{"1h", "500ms", "1h30m", "1.5s", ".5s", "+1s", "1us", "1d", "5", "", "s", "-1s", "1 s", "1s ", "off", "1h.", "1.h"} {
		_, err := time.ParseDuration(text)
		// The schema rejects negative durations, which Parse rejects as too short.
		same(t, "duration "+text, isTime.MatchString(text), err == nil && !strings.HasPrefix(text, "-"))
	}
}
