package rules_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func TestHeadersNameKeys(t *testing.T) {
	t.Parallel()
	type headers = map[string]string
	open := `rules: [{subject: a, headers: true}]`
	for _, c := range []struct {
		name, rules string
		headers     headers
		want        string // deletions, and ! and a part of the reason
	}{
		{"none", open, nil, ""},
		{"keys and tags", open, headers{"Cache-Keys": "a b:{c}*", "Cache-Tags": "a"}, "a@0, b:{c}*@0, #a@0"},
		{"any case", open, headers{"cache-keys": "a", "CACHE-TAGS": "t"}, "a@0, #t@0"},
		{"two spellings", open, headers{"cache-keys": "a b", "Cache-Keys": "c a"}, "c@0, a@0, b@0"},
		{"another name", open, headers{"Cache-Key": "a", "X-Cache-Keys": "a"}, ""},
		{"white space", open, headers{"Cache-Keys": " a \t\n b\u2003c "}, "a@0, b@0, c@0"},
		{"empty", open, headers{"Cache-Keys": "", "Cache-Tags": "[]"}, ""},
		{"array", open, headers{"Cache-Keys": `["a b", "\u00e9", "a b", "["]`}, "a b@0, é@0, [@0"},
		{"array after a blank", open, headers{"Cache-Keys": ` ["a"]`}, "a@0"},
		{"prefix", `rules: [{subject: a, headers: true, prefix: ["", "p:"], ttl: 1s}]`, headers{"Cache-Keys": "a", "Cache-Tags": "t"},
			"a@0 1s-1s, p:a@0 1s-1s, #t@0 1s-1s, #p:t@0 1s-1s"},
		{"beside templates", `rules: [{subject: a, headers: true, keys: [k], tags: [t]}]`, headers{"Cache-Keys": "h k", "Cache-Tags": "u t"}, "k@0, h@0, #t@0, #u@0"},
		{"no rule with headers: true matches", `rules: [{subject: a, keys: [k]}, {subject: b, headers: true}]`, headers{"Cache-Keys": "a", "Cache-Tags": "["}, "k@0"},
		{"headers: false", `rules: [{subject: a, keys: [k], headers: false}]`, headers{"Cache-Keys": "a"}, "k@0"},
		{"a rule of another operation", `rules: [{subject: a, keys: [k]}, {subject: a, headers: true, on: [delete]}]`, headers{"Cache-Keys": "a", "Outbox-Op": "update"}, "k@0"},
		// poison
		{"not JSON", open, headers{"Cache-Keys": `["a"`, "Cache-Tags": "t"}, "#t@0!header \"Cache-Keys\": the value begins with [ but is not a JSON array of strings"},
		{"more than JSON", open, headers{"Cache-Keys": `["a"] b`}, "!not a JSON array"},
		{"number", open, headers{"Cache-Keys": `["a", 1]`}, "!not a JSON array"},
		{"nested", open, headers{"Cache-Tags": `[["a"]]`}, `!header "Cache-Tags": the value begins`},
		{"null", open, headers{"Cache-Keys": `["a", null]`}, "a@0!the list has an empty key"},
		{"empty key", `rules: [{subject: a, headers: true, prefix: ["p:"]}]`, headers{"Cache-Keys": `["", "a"]`}, "p:a@0!the list has an empty key"},
		{"control character", open, headers{"Cache-Keys": "a\x00 b"}, "b@0!the list has a key with a control character"},
		{"control character in an array", open, headers{"Cache-Tags": `["a\n", "b"]`}, "#b@0!the list has a key with a control character"},
		{"not UTF-8", open, headers{"Cache-Keys": "a \xff"}, "!the value is not UTF-8"},
		{"longest", open, headers{"Cache-Keys": strings.Repeat("k", rules.MaxKey)}, strings.Repeat("k", rules.MaxKey) + "@0"},
		{"too long", open, headers{"Cache-Keys": "a " + strings.Repeat("k", rules.MaxKey+1) + " b"}, "a@0, b@0!the key has 1025 bytes; want at most 1024"},
		{"too long with its prefix", `rules: [{subject: a, headers: true, prefix: ["p"]}]`, headers{"Cache-Keys": strings.Repeat("k", rules.MaxKey)}, "!the key has 1025 bytes"},
	} {
		list, err := parse(t, c.rules).Resolve(&event.Event{Subject: "a", Headers: c.headers})
		want, reason, poison := strings.Cut(c.want, "!")
		same(t, c.name, format(list), want)
		if !poison {
			same(t, c.name, err, nil)
			continue
		}
		if rule, ok := errors.AsType[*rules.RuleError](err); !ok || !errors.Is(err, rules.ErrPoison) || rule.Of != "header" {
			t.Errorf("%s: error %v, want poison of a header", c.name, err)
			continue
		}
		contains(t, c.name, err.Error(), reason)
	}
}

func TestHeadersLimit(t *testing.T) {
	t.Parallel()
	set := parse(t, `rules: [{subject: a, headers: true}]`)
	list, err := set.Resolve(&event.Event{Subject: "a", Headers: map[string]string{
		rules.HeaderKeys: "[\"" + strings.ReplaceAll(upTo(600), ",", "\",\"") + "\"]", rules.HeaderTags: strings.ReplaceAll(upTo(401), ",", " "),
	}})
	same(t, "deletions", len(list), rules.MaxEventKeys)
	contains(t, "error", fmt.Sprint(err), "more than 1000 keys and tags")
}
