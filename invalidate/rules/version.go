package rules

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A Version finds the version of a cached value, to determine whether the value is newer than an event. Event and value both
// carry a version of the row that grows with every change. A value without a version counts as old. It is safe for
// concurrent use.
type Version struct {
	event []string // path of the version in the payload of the event
	Field string   // the field of the hash that holds the version; empty if the value is a string
	path  []string // path of the version in the JSON of a string
}

// hashField is the prefix of versionPaths.Value that names a field of a hash.
const hashField = "hash:"

// compile checks the paths.
func (v *versionPaths) compile() (*Version, *fault) {
	out := &Version{}
	var ok bool
	if out.event, ok = parsePath(v.Event); !ok {
		return nil, faultf("version.event", -1, "invalid version.event %q; want field names joined by dots", v.Event)
	}
	if out.Field, ok = strings.CutPrefix(v.Value, hashField); ok {
		if out.Field == "" || strings.IndexFunc(out.Field, unicode.IsControl) >= 0 {
			return nil, faultf("version.value", -1, "invalid version.value %q; want the name of a hash field after %s", v.Value, hashField)
		}
		return out, nil
	}
	out.Field = ""
	if out.path, ok = parsePath(v.Value); !ok {
		return nil, faultf("version.value", -1, "invalid version.value %q; want field names joined by dots, or %s and the name of a hash field", v.Value, hashField)
	}
	return out, nil
}

// due returns the version of an event, or "" if it has none.
func (v *Version) due(p *payload) string {
	text, err := p.lookup(v.event)
	if err != nil {
		return ""
	}
	return string(text)
}

// same reports whether v and w find the version of a value in the same field or path.
func (v *Version) same(w *Version) bool {
	return v == w || v.Field == w.Field && slices.Equal(v.path, w.path)
}

// Of returns the version of a value. If Field is set, value must be the text of that hash field, and the version is the
// whole of it; otherwise value must be the JSON of a string. Of returns an error if the value has no version.
func (v *Version) Of(value []byte) (string, error) {
	text := value
	if v.Field == "" {
		p := payload{noun: "value", text: value}
		var err error
		if text, err = p.lookup(v.path); err != nil {
			return "", err
		}
	}
	if len(text) == 0 {
		return "", errors.New("the version is empty")
	}
	return string(text), nil
}

// Newer reports whether version a is at least as new as version b. Both must be whole numbers, of any size, or both times
// in the format of RFC 3339; otherwise Newer returns an error.
func Newer(a, b string) (bool, error) {
	if x, ok := parseWhole(a); ok {
		if y, ok := parseWhole(b); ok {
			return x.atLeast(y), nil
		}
	}
	x, errA := time.Parse(time.RFC3339Nano, a)
	y, errB := time.Parse(time.RFC3339Nano, b)
	if errA != nil || errB != nil {
		return false, errors.New("compare versions: want two whole numbers or two times in RFC 3339")
	}
	return !x.Before(y), nil
}

// A whole is a whole number. It is compared digit by digit, because versions can be larger than any integer type.
type whole struct {
	negative bool
	digits   string // without leading zeros; empty for 0
}

func parseWhole(text string) (whole, bool) {
	digits := strings.TrimPrefix(text, "-")
	w := whole{negative: len(digits) < len(text)}
	if !w.negative {
		digits = strings.TrimPrefix(text, "+")
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return w, false
	}
	w.digits = strings.TrimLeft(digits, "0")
	w.negative = w.negative && w.digits != ""
	return w, true
}

func (w whole) atLeast(x whole) bool {
	if w.negative != x.negative {
		return x.negative
	}
	if w.negative {
		w, x = x, w
	}
	if len(w.digits) != len(x.digits) {
		return len(w.digits) > len(x.digits)
	}
	return w.digits >= x.digits
}
