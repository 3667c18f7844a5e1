package rules_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// The schema and the Go type say the same: fields, required ones, and limits.
func TestSchema(t *testing.T) {
	t.Parallel()
	type property struct {
		Type     string
		MinItems int
		MaxItems int
		Items    struct{ Enum []string }
	}
	type object struct {
		AdditionalProperties *bool
		Required             []string
		Properties           map[string]property
	}
	var schema struct {
		object
		Defs struct{ Rule object } `json:"$defs"`
	}
	fatal(t, json.Unmarshal(rules.Schema, &schema))
	same(t, "top", slices.Collect(maps.Keys(schema.Properties)), []string{"rules"})
	same(t, "rules", schema.Properties["rules"].MaxItems, rules.MaxRules)

	rule := schema.Defs.Rule
	var fields, required []string
	for field := range reflect.TypeFor[rules.Rule]().Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		json, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		same(t, "JSON name of "+field.Name, json, name)
		fields = append(fields, name)
		if options != "omitempty" {
			required = append(required, name)
		}
		want := map[reflect.Kind]string{reflect.String: "string", reflect.Slice: "array"}[field.Type.Kind()]
		same(t, "type of "+name, rule.Properties[name].Type, want)
	}
	same(t, "fields", slices.Sorted(maps.Keys(rule.Properties)), slices.Sorted(slices.Values(fields)))
	same(t, "required", rule.Required, required)
	for _, o := range []object{schema.object, rule} {
		if o.AdditionalProperties == nil || *o.AdditionalProperties {
			t.Error("the schema allows unknown fields")
		}
	}
	same(t, "limits", []int{rule.Properties["keys"].MinItems, rule.Properties["keys"].MaxItems, rule.Properties["prefix"].MaxItems},
		[]int{1, rules.MaxRuleKeys, rules.MaxRulePrefixes})
	for _, op := range append(rule.Properties["on"].Items.Enum, "insert", "update", "delete") {
		parse(t, "rules: [{subject: a, keys: [k], on: ["+op+"]}]")
	}
}
