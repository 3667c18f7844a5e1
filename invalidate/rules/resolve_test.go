package rules_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// oneRule returns a set of one rule with these keys.
func oneRule(t testing.TB, subject string, keys ...string) *rules.Set {
	t.Helper()
	quoted := make([]string, len(keys))
	for i, key := range keys {
		quoted[i] = "'" + strings.ReplaceAll(key, "'", "''") + "'"
	}
	return parse(t, fmt.Sprintf("rules: [{subject: '%s', keys: [%s]}]", subject, strings.Join(quoted, ", ")))
}

func names(list []rules.Deletion) []string {
	keys := []string{}
	for _, d := range list {
		keys = append(keys, d.Key)
	}
	return keys
}

func TestResolveOneKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, key, subject, payload string
		want                           string // keys separated by spaces, or ! and a part of the reason
	}{
		// tokens
		{"users.*.updated", "user:$1:profile", "users.42.updated", "", "user:42:profile"},
		{"*.*.*", "$3-$2-$1", "a.b.c", "", "c-b-a"},
		{"*.*.*", "${3}0", "a.b.c", "", "c0"},
		{"users.>", "user:$1", "users.1.2.3", "", "user:1.2.3"},
		{"users.>", "user:$1", "users.a%2Eb.c", "", "user:a.b.c"},
		{"users.*", "user:$1", "users." + event.Token("a:b c"), "", "user:a%3Ab%20c"},
		{"users.*", "user:$1", "users.a:b", "", "user:a%3Ab"},
		{"users.*", "user:$1:x", "users.%", "", "user::x"},
		{"users.*", "user:$1", "users.%N", "", "user:%25N"},
		{"users.*", "user:${1|raw}", "users." + event.Token("a:b c"), "", "user:a:b c"},
		{"users.*", "${1|raw}", "users." + event.Token("a:b"), "", "a:b"},
		{"users.*", "${1|raw}", "users.%", "", "!the key is empty; want at least 1 byte"},
		{"users.*", "user:${1|raw}", "users." + event.Token("a\nb"), "", "!control character"},
		{"users.*", "user:$1", "users." + event.Token("a\nb{}*?[]%é\u2028\xff"), "", "user:a%0Ab%7B%7D%2A%3F%5B%5D%25é%E2%80%A8%FF"},
		// literal text
		{"users.*", "{user:$1}:$$:{}", "users.1", "", "{user:1}:$:{}"},
		{"users.*", "a b", "users.1", "", "a b"},
		// the rest of the event
		{"a", "k:${subject}", "a", "", "k:a"},
		{"a.*", "k:${subject}", "a.b%20c", "", "k:a.b%2520c"},
		{"a", "k:${key}", "a", "", "k:k 1"},
		{"a", "k:${header.X-Tenant}", "a", "", "k:t%3A1"},
		{"a", "k:${header.x-tenant}", "a", "", `!no header "x-tenant"`},
		{"a", "k:${header.Outbox-Op}", "a", "", "k:update"},
		// payload
		{"a", "k:${payload.id}", "a", `{"id": 12345678901234567890}`, "k:12345678901234567890"},
		{"a", "k:${payload.id}", "a", `{"id":1.50e+3}`, "k:1.50e+3"},
		{"a", "k:${payload.id}", "a", ` { "x" : [1, {"id": 9}, "]}"] , "id" : true } `, "k:true"},
		{"a", "k:${payload.id}", "a", `{"id": "a:b"}`, "k:a%3Ab"},
		{"a", "k:${payload.id|raw}", "a", `{"id": "a:b"}`, "k:a:b"},
		{"a", "k:${payload.id|raw}", "a", `{"id": "a\u0000b"}`, "!control character"},
		{"a", "k:${payload.id}", "a", `{"id": "\u00e9\"\\\ud83d\ude00"}`, `k:é"\😀`},
		{"a", "k:${payload.id}", "a", `{"id": ""}`, "k:"},
		{"a", "k:${payload.id}", "a", `{"id": 1, "id": 2}`, "k:2"},
		{"a", "k:${payload.id}", "a", `{"\u0069d": 1}`, "k:1"},
		{"a", "k:${payload.a.b.c}", "a", `{"a": {"c": 0, "b": {"c": 7}}}`, "k:7"},
		{"a", "k:${payload.é-1}", "a", `{"é-1": 7}`, "k:7"},
		// arrays
		{"a", "k:${payload.ids}", "a", `{"ids": [1, "b", true]}`, "k:1 k:b k:true"},
		{"a", "k:${payload.ids}", "a", `{"ids": [1, 1, 1.0]}`, "k:1 k:1.0"},
		{"a", "k:${payload.ids}", "a", `{"ids": [ ]}`, ""},
		{"a", "k:${payload.x}:${payload.y}", "a", `{"x": [1, 2], "y": ["a", "b"]}`, "k:1:a k:1:b k:2:a k:2:b"},
		{"a", "k:${payload.x}:${payload.y}", "a", `{"x": [1, 2], "y": []}`, ""},
		// arrays of objects
		{"a", "k:${payload.items.id}", "a", `{"items": [{"id": 1}, {"x": 9, "id": "b"}, {"id": 1}]}`, "k:1 k:b"},
		{"a", "k:${payload.items.id}", "a", `{"items": []}`, ""},
		{"a", "k:${payload.items.id}", "a", `{"items": {"id": 1}}`, "k:1"},
		{"a", "k:${payload.items.id}", "a", `{"items": [{"id": [1, 2]}, {"id": []}, {"id": 3}]}`, "k:1 k:2 k:3"},
		{"a", "k:${payload.a.b.c.d}", "a", `{"a": [{"b": {"c": [{"d": 1}, {"d": 2}]}}, {"b": {"c": {"d": 3}}}]}`, "k:1 k:2 k:3"},
		{"a", "k:${payload.x.a}:${payload.y}", "a", `{"x": [{"a": 1}, {"a": 2}], "y": [3, 4]}`, "k:1:3 k:1:4 k:2:3 k:2:4"},
		{"a", "k:${payload.x.a}:${payload.y.b}", "a", `{"x": [{"a": 1}], "y": [{"b": []}]}`, ""},
		// poison
		{"a", "k:${payload.items.id}", "a", `{"items": [[{"id": 1}]]}`, `!"payload.items" is an array; want an object with the field "id"`},
		{"a", "k:${payload.items.id}", "a", `{"items": [{"id": [[1]]}]}`, `!"payload.items.id" is an array; want a string, number or boolean`},
		{"a", "k:${payload.items.id}", "a", `{"items": [1]}`, `!"payload.items" is a number; want an object with the field "id"`},
		{"a", "k:${payload.items.id}", "a", `{"items": [{"id": 1}, {}]}`, `!"payload.items.id" is missing`},
		{"a", "k:${payload.items.0}", "a", `{"items": [1]}`, `!"payload.items" is a number; want an object with the field "0"`},
		{"a", "k:${payload.id}", "a", `[{"id": 1}]`, `!"payload" is an array; want an object with the field `},
		{"a", "k:${payload.id}", "a", ``, "!payload is not JSON"},
		{"a", "k:${payload.id}", "a", `{"id": 1} x`, "!payload is not JSON"},
		{"a", "k:${payload.id}", "a", `{}`, `!"payload.id" is missing`},
		{"a", "k:${payload.a.b}", "a", `{"a": {}}`, `!"payload.a.b" is missing`},
		{"a", "k:${payload.a.b}", "a", `{"a": 5}`, `!"payload.a" is a number; want an object with the field "b"`},
		{"a", "k:${payload.a.b}", "a", `[]`, `!"payload" is an array; want an object with the field `},
		{"a", "k:${payload.id}", "a", `{"id": null}`, `!"payload.id" is null; want a string, number or boolean`},
		{"a", "k:${payload.id}", "a", `{"id": {}}`, `!"payload.id" is an object; want a string, number or boolean`},
		{"a", "k:${payload.ids}", "a", `{"ids": [[1]]}`, `!"payload.ids" is an array; want a string, number or boolean`},
		{"a", "k:${payload.ids}", "a", `{"ids": [null]}`, `!"payload.ids" is null; want a string, number or boolean`},
		{"a", "k:${payload.id}", "a", `{"id": "` + strings.Repeat("x", 1023) + `"}`, "!the key has 1025 bytes; want at most 1024"},
	} {
		t.Run(c.key+" "+c.subject+" "+c.payload[:min(20, len(c.payload))], func(t *testing.T) {
			t.Parallel()
			list, err := oneRule(t, c.pattern, c.key).Resolve(&event.Event{
				Subject: c.subject, Key: "k 1", Payload: []byte(c.payload),
				Headers: map[string]string{"X-Tenant": "t:1", event.HeaderOp: "update"},
			})
			if reason, ok := strings.CutPrefix(c.want, "!"); ok {
				var rule *rules.RuleError
				if !errors.Is(err, rules.ErrPoison) || !errors.As(err, &rule) {
					t.Fatalf("keys %q, error %v, want poison", names(list), err)
				}
				contains(t, "reason", rule.Reason, reason)
				return
			}
			fatal(t, err)
			want := strings.Split(c.want, " ")
			if strings.Contains(c.want, "b c") || c.key == "a b" {
				want = []string{c.want}
			}
			if c.want == "" {
				want = []string{}
			}
			if c.key == "k:${key}" {
				want = []string{"k:k%201"}
			}
			same(t, "keys", names(list), want)
		})
	}
}

func TestResolveEventWithoutKey(t *testing.T) {
	t.Parallel()
	_, err := oneRule(t, "a", "k:${key}").Resolve(&event.Event{Subject: "a"})
	if !errors.Is(err, rules.ErrPoison) {
		t.Errorf("error %v, want poison", err)
	}
}

// An array element that lacks a field does not prevent the keys of the other elements.
func TestResolveElementsBesideBadOnes(t *testing.T) {
	t.Parallel()
	set := parse(t, `rules: [{subject: a, keys: ["k:${payload.items.id}"], prefix: ["", "p:"]}]`)
	list, err := set.Resolve(&event.Event{Subject: "a", Payload: []byte(`{"items": [{"id": 1}, {}, 7, {"id": 2}]}`)})
	same(t, "keys", names(list), "[k:1 k:2 p:k:1 p:k:2]")
	same(t, "error", err, `rules[0] (a), key "k:${payload.items.id}": "payload.items.id" is missing`)
}

// A rule with several subjects is applied for each of them, and counts as one rule.
func TestResolveSeveralSubjects(t *testing.T) {
	t.Parallel()
	set := parse(t, `
rules:
  - {subject: [users.*.updated, "*.42.>", orders.*], keys: ["k:$1"], tags: ["t:$1"]}
  - {subject: users.>, keys: [all]}
`)
	same(t, "rules", set.Len(), 2)
	same(t, "subjects", set.Subjects(), "[]")
	for subject, want := range map[string]string{
		"users.42.updated": "k:42@0, #t:42@0, k:users@0, #t:users@0, all@1",
		"users.7.updated":  "k:7@0, #t:7@0, all@1",
		"x.42.y.z":         "k:x@0, #t:x@0",
		"orders.7":         "k:7@0, #t:7@0",
		"x.y":              "",
	} {
		list, err := set.Resolve(&event.Event{Subject: subject})
		fatal(t, err)
		same(t, subject, format(list), want)
	}
}

func TestResolveSeveralRules(t *testing.T) {
	t.Parallel()
	set := parse(t, `
rules:
  - {subject: users.*.updated, keys: ["user:$1", "users:all"], prefix: ["", "MyApp:"]}
  - {subject: ">", keys: ["all", "user:42"]}
  - {subject: users.42.*, keys: ["the:answer"], on: [update, delete]}
  - {subject: "*.*.updated", keys: ["payload:${payload.id}", "$1:seen"]}
`)
	ev := event.Event{Subject: "users.42.updated", Payload: []byte(`{}`)}
	list, err := set.Resolve(&ev)
	var named []string
	for _, d := range list {
		named = append(named, fmt.Sprint(d.Key, " ", d.Rule))
	}
	same(t, "keys", named, "[user:42 0 MyApp:user:42 0 users:all 0 MyApp:users:all 0 all 1 users:seen 3]")
	var rule *rules.RuleError
	if !errors.As(err, &rule) || rule.Rule != 3 {
		t.Errorf("error %v", err)
	}
	same(t, "error", err, `rules[3] (*.*.updated), key "payload:${payload.id}": "payload.id" is missing`)

	ev.Headers = map[string]string{event.HeaderOp: "delete"}
	ev.Payload = []byte(`{"id": 1}`)
	list, err = set.Resolve(&ev)
	fatal(t, err)
	same(t, "keys", names(list)[5:], "[the:answer payload:1 users:seen]")

	ev.Headers[event.HeaderOp] = "insert"
	list, _ = set.Resolve(&ev)
	same(t, "keys", names(list)[5:], "[payload:1 users:seen]")

	list, err = oneRule(t, "a.*", "k").Resolve(&event.Event{Subject: "a.b.c"})
	if len(list) != 0 || err != nil {
		t.Errorf("got %v, %v; want no keys and no error, because no rule matches", list, err)
	}
}

func TestResolveLimits(t *testing.T) {
	t.Parallel()
	array := func(n int, element func(i int) string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = element(i)
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	number := func(i int) string { return fmt.Sprint(i) }
	set := oneRule(t, "a", "k:${payload.x}:${payload.y}", "last")
	for _, c := range []struct {
		name, x, y string
		keys       int
		reason     string
	}{
		{"as many as allowed", array(999, number), "1", 1000, ""},
		{"one more", array(1001, number), "1", 1000, "more than 1000 keys"},
		{"combinations", array(100, number), array(100, number), 1000, "more than 1000 keys"},
		{"the same again and again", array(300, func(int) string { return "1" }), array(300, func(int) string { return "1" }), 1, "more than 16000 keys, duplicates included"},
		{"nothing many times", array(100000, number), "[]", 1, ""},
		{"nothing in many elements", array(100000, number), array(100000, func(int) string { return `{"z":[]}` }), 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			set := set
			if strings.Contains(c.y, "z") {
				set = oneRule(t, "a", "k:${payload.x}:${payload.y.z}", "last")
			}
			list, err := set.Resolve(&event.Event{Subject: "a", Payload: []byte(`{"x": ` + c.x + `, "y": ` + c.y + `}`)})
			same(t, "keys", len(list), c.keys)
			seen := make(map[string]bool)
			for _, d := range list {
				if seen[d.Key] {
					t.Errorf("key %s twice", d.Key)
				}
				seen[d.Key] = true
			}
			if c.reason == "" {
				fatal(t, err)
			} else if !errors.Is(err, rules.ErrPoison) {
				t.Errorf("error %v, want poison", err)
			} else {
				contains(t, "error", err.Error(), c.reason)
			}
		})
	}
}
