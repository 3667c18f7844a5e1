package rules

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A Version says how to tell whether a cached value is newer than an event: both carry a version of the row, which grows
// with every change. Without that, or where the value does not show it, the value counts as old.
type Version struct {
	event []string // path of the version in the payload of the event
	Field string   // of the hash that the value is in, "" for a value that is a string
	path  []string // of the version in the value, which is JSON, unless it is a field of a hash
}

// hashField stands before the name of a field in VersionPaths.Value.
const hashField = "hash:"

// compile checks the paths.
func (v *VersionPaths) compile() (*Version, *fault) {
	out := &Version{}
	var ok bool
	if out.event, ok = parsePath(v.Event); !ok {
		return nil, wrong("version.event", -1, "version.event %q is no path of field names joined by dots", v.Event)
	}
	if out.Field, ok = strings.CutPrefix(v.Value, hashField); ok {
		if out.Field == "" || strings.IndexFunc(out.Field, unicode.IsControl) >= 0 {
			return nil, wrong("version.value", -1, "version.value %q names no field of a hash", v.Value)
		}
		return out, nil
	}
	out.Field = ""
	if out.path, ok = parsePath(v.Value); !ok {
		return nil, wrong("version.value", -1, "version.value %q is neither a path of field names joined by dots nor hash: and a field", v.Value)
	}
	return out, nil
}

// due returns the version that an event has, "" if it has none.
func (v *Version) due(p *payload) string {
	text, err := p.lookup(v.event)
	if err != nil {
		return ""
	}
	return string(text)
}

// same says whether both find the version of a value in the same place.
func (v *Version) same(w *Version) bool {
	return v == w || v.Field == w.Field && slices.Equal(v.path, w.path)
}

// Of returns the version that a value shows: the text of the hash field, as a whole, or what is at the path in the
// JSON of a string. It is an error if there is none. It is safe for concurrent use.
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
		return "", errors.New("value has an empty version")
	}
	return string(text), nil
}

// Newer says whether version a is at least as new as b: whole numbers of any size, or times in RFC 3339. It is an error
// if they cannot be compared.
func Newer(a, b string) (bool, error) {
	if x, ok := parseWhole(a); ok {
		if y, ok := parseWhole(b); ok {
			return x.atLeast(y), nil
		}
	}
	x, errA := time.Parse(time.RFC3339Nano, a)
	y, errB := time.Parse(time.RFC3339Nano, b)
	if errA != nil || errB != nil {
		return false, errors.New("versions cannot be compared: they are neither two whole numbers nor two times of RFC 3339")
	}
	return !x.Before(y), nil
}

// A whole number is compared by its digits, since versions can have more of them than any integer type.
type whole struct {
	negative bool
	digits   string // none for 0, the first is not 0
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
