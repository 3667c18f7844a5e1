package rules_test

import (
	"math/big"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func version(t testing.TB, value string) *rules.Version {
	t.Helper()
	set := parse(t, `rules: [{subject: a, keys: [k], version: {event: v, value: "`+value+`"}}]`)
	list, err := set.Resolve(&event.Event{Subject: "a", Payload: []byte(`{"v": 1}`)})
	fatal(t, err)
	return list[0].Version
}

func TestVersionOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, value, want string }{
		{"v", `{"v": 12345678901234567890123}`, "12345678901234567890123"},
		{"v", ` {"x": {"v": 1}, "v": "2024-05-01T10:00:00Z"} `, "2024-05-01T10:00:00Z"},
		{"a.b", `{"a": {"b": 1.50}}`, "1.50"},
		{"a.b", `{"a": [{"b": 1}]}`, `!"value.a" is an array; want an object with the field "b"`},
		{"v", `{"v": [1]}`, `!"value.v" is an array; want a string`},
		{"v", `{"v": null}`, `!"value.v" is null`},
		{"v", `{"v": ""}`, "!the version is empty"},
		{"v", `{}`, `!"value.v" is missing`},
		{"v", `7`, `!"value" is a number; want an object`},
		{"v", ``, "!value is not JSON"},
		{"v", "\x00\x01", "!value is not JSON"},
		{"hash:v", `7`, "7"},
		{"hash:v", `{"v": 1}`, `{"v": 1}`},
		{"hash:v", ``, "!the version is empty"},
	} {
		v := version(t, c.path)
		field, _ := strings.CutPrefix(c.path, "hash:")
		if field == c.path {
			field = ""
		}
		same(t, "field of "+c.path, v.Field, field)
		got, err := v.Of([]byte(c.value))
		if reason, ok := strings.CutPrefix(c.want, "!"); ok {
			if err == nil {
				t.Errorf("%s of %q: got %q, want an error", c.path, c.value, got)
			} else {
				contains(t, c.value, err.Error(), reason)
			}
			continue
		}
		fatal(t, err)
		same(t, c.value, got, c.want)
	}
}

func TestNewer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b, want string }{
		{"1", "1", "true"}, {"2", "1", "true"}, {"1", "2", "false"}, {"10", "9", "true"}, {"9", "10", "false"},
		{"0", "-1", "true"}, {"-1", "0", "false"}, {"-2", "-1", "false"}, {"-1", "-2", "true"}, {"-10", "-9", "false"},
		{"+1", "1", "true"}, {"007", "7", "true"}, {"-0", "0", "true"}, {"0", "-0", "true"},
		{"18446744073709551616", "18446744073709551615", "true"}, {"18446744073709551615", "18446744073709551616", "false"},
		{"2024-05-01T10:00:00Z", "2024-05-01T10:00:00Z", "true"}, {"2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00Z", "true"},
		{"2024-05-01T10:00:00.000001Z", "2024-05-01T10:00:00Z", "true"}, {"2024-05-01T10:00:00Z", "2024-05-01T10:00:00.000001Z", "false"},
		{"1", "2024-05-01T10:00:00Z", "error"}, {"2024-05-01T10:00:00Z", "1", "error"},
		{"", "1", "error"}, {"1", "", "error"}, {"-", "1", "error"}, {"+-1", "1", "error"}, {"--1", "1", "error"}, {"1.0", "1", "error"}, {"1e3", "1", "error"},
		{"abc", "abc", "error"}, {" 1", "1", "error"}, {"2024-05-01", "2024-05-01", "error"}, {"true", "1", "error"}, {"٣", "1", "error"},
	} {
		newer, err := rules.Newer(c.a, c.b)
		got := map[bool]string{true: "true", false: "false"}[newer]
		if err != nil {
			same(t, "result of an error", newer, false)
			got = "error"
		}
		same(t, c.a+" newer than "+c.b, got, c.want)
	}
}

// Newer compares whole numbers like math/big.
func FuzzNewer(f *testing.F) {
	for _, seed := range [][2]string{{"1", "2"}, {"-0", "+0"}, {"00", "-1"}, {"2024-05-01T10:00:00Z", "2023-05-01T10:00:00+01:00"}, {"", "-"}, {"1_0", "0x1"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		got, err := rules.Newer(a, b)
		x, okA := new(big.Int).SetString(a, 10)
		y, okB := new(big.Int).SetString(b, 10)
		if okA && okB {
			if want := x.Cmp(y) >= 0; err != nil || got != want {
				t.Errorf("%q newer than %q: %v, %v, want %v", a, b, got, err, want)
			}
		}
		if back, errBack := rules.Newer(b, a); (err == nil) != (errBack == nil) || err == nil && !got && !back {
			t.Errorf("%q and %q: %v %v, reversed %v %v", a, b, got, err, back, errBack)
		}
	})
}
