package rules_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// format writes deletions as text: the key (with # for a tag), the rule, the TTL, and the version that is due with the
// version that it finds in a value.
func format(list []rules.Deletion) string {
	var out []string
	for _, d := range list {
		text := d.Key
		if d.Tag {
			text = "#" + text
		}
		text = fmt.Sprintf("%s@%d", text, d.Rule)
		if d.TTL != (rules.Span{}) {
			text += fmt.Sprintf(" %v-%v", d.TTL.Min, d.TTL.Max)
		}
		if d.Due != "" || d.Version != nil {
			version, err := d.Version.Of([]byte(`{"v": "of v", "w": "of w"}`))
			text += fmt.Sprintf(" due %s %s %v", d.Due, version, err)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// Several rules that name the same key are merged: only what all of them declare counts.
func TestMerge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, rules, want string }{
		{"one rule", `[{subject: a, keys: [k], ttl: 1h}]`, "k@0 1h0m0s-1h0m0s"},
		{"key and tag differ", `[{subject: a, keys: [k], tags: [k, l], ttl: 1h}, {subject: a, tags: [k]}]`,
			"k@0 1h0m0s-1h0m0s, #k@0, #l@0 1h0m0s-1h0m0s"},
		{"spans", `[{subject: a, keys: [k], ttl: [2s, 3s]}, {subject: a, keys: [k], ttl: 1s}, {subject: a, keys: [k], ttl: [2s, 9s]}]`, "k@0 1s-9s"},
		{"the first has no TTL", `[{subject: a, keys: [k]}, {subject: a, keys: [k], ttl: 1s}]`, "k@0"},
		{"the second has no TTL", `[{subject: a, keys: [k], ttl: 1s}, {subject: a, keys: [k]}, {subject: a, keys: [k], ttl: 1s}]`, "k@0"},
		{"a rule names it twice", `[{subject: a, keys: [k, "${header.K|raw}"], ttl: 1s}]`, "k@0 1s-1s"},
		{"two subjects of a rule", `[{subject: [a, ">"], keys: [k], ttl: 1s}]`, "k@0 1s-1s"},
		{"version", `[{subject: a, keys: [k], version: {event: v, value: v}}]`, "k@0 due 7 of v <nil>"},
		{"the same version", `[{subject: a, keys: [k], version: {event: v, value: v}}, {subject: a, keys: [k], version: {event: same, value: v}}]`, "k@0 due 7 of v <nil>"},
		{"another version of the event", `[{subject: a, keys: [k], version: {event: v, value: v}}, {subject: a, keys: [k], version: {event: w, value: v}}]`, "k@0"},
		{"another version of the value", `[{subject: a, keys: [k], version: {event: v, value: v}}, {subject: a, keys: [k], version: {event: v, value: w}}]`, "k@0"},
		{"string and hash", `[{subject: a, keys: [k], version: {event: v, value: v}}, {subject: a, keys: [k], version: {event: v, value: "hash:v"}}]`, "k@0"},
		{"no version before", `[{subject: a, keys: [k]}, {subject: a, keys: [k], version: {event: v, value: v}}]`, "k@0"},
		{"no version after", `[{subject: a, keys: [k], version: {event: v, value: v}}, {subject: a, keys: [k]}, {subject: a, keys: [k], version: {event: v, value: v}}]`, "k@0"},
		{"the event has no version", `[{subject: a, keys: [k], version: {event: v, value: v}}, {subject: a, keys: [k, l], version: {event: x, value: v}}]`, "k@0, l@1"},
		{"the version is an array", `[{subject: a, keys: [k], version: {event: list, value: v}}]`, "k@0"},
		{"the version is null", `[{subject: a, keys: [k], version: {event: none, value: v}}]`, "k@0"},
		{"the version is empty", `[{subject: a, keys: [k], version: {event: empty, value: v}}]`, "k@0"},
		{"other keys keep theirs", `[{subject: a, keys: [k, l], ttl: 1s}, {subject: a, keys: [l]}]`, "k@0 1s-1s, l@0"},
	} {
		list, err := parse(t, "rules: "+c.rules).Resolve(&event.Event{
			Subject: "a", Payload: []byte(`{"v": 7, "same": "7", "w": 8, "list": [7], "none": null, "empty": ""}`), Headers: map[string]string{"K": "k"},
		})
		fatal(t, err)
		same(t, c.name, format(list), c.want)
	}
	list, err := parse(t, `rules: [{subject: a, keys: [k], version: {event: v, value: v}}]`).Resolve(&event.Event{Subject: "a", Payload: []byte("{")})
	fatal(t, err)
	same(t, "no JSON", format(list), "k@0")
}

// Equal keys are found and merged among many.
func TestMergeMany(t *testing.T) {
	t.Parallel()
	set := parse(t, `
rules:
  - {subject: a, keys: ["k:${payload.ids}"], tags: ["k:${payload.ids}"], ttl: 2s}
  - {subject: a, keys: ["k:${payload.ids}"], ttl: 1s}
`)
	resolver := set.NewResolver()
	for _, n := range []int{1, 15, 16, 31, 32, 33, 100} {
		before := []rules.Deletion{{Key: "k:0"}}
		list, err := resolver.Resolve(&event.Event{Subject: "a", Payload: []byte(`{"ids": [` + upTo(n) + `]}`)}, before)
		fatal(t, err)
		list = list[1:]
		same(t, "deletions", len(list), 2*n)
		for i, d := range list {
			want := "{1s 2s}"
			if i >= n {
				want = "{2s 2s}"
			}
			same(t, fmt.Sprint(n, " keys, tag ", d.Tag, " of ", d.Key), fmt.Sprint(d.Tag, d.TTL), fmt.Sprint(i >= n, " ", want))
		}
	}
}

// Keys and tags share one limit.
func TestLimitOfKeysAndTags(t *testing.T) {
	t.Parallel()
	set := parse(t, `rules: [{subject: a, keys: ["k:${payload.ids}"], tags: ["t:${payload.ids}"]}]`)
	for n, want := range map[int]string{500: "", 501: `tag "t:${payload.ids}": the event names more than 1000 keys and tags`} {
		list, err := set.Resolve(&event.Event{Subject: "a", Payload: []byte(`{"ids": [` + upTo(n) + `]}`)})
		same(t, "deletions", len(list), 1000)
		if want == "" {
			fatal(t, err)
		} else if !errors.Is(err, rules.ErrPoison) {
			t.Errorf("%d ids: error %v, want poison", n, err)
		} else {
			contains(t, "error", err.Error(), want)
		}
	}
}

// upTo writes the numbers from 0 to n-1, separated by commas.
func upTo(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	return strings.Join(list, ",")
}
