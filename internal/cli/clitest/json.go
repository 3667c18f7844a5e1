package clitest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// JSON is the command json of a script. It checks a value in the JSON on standard output, as in json stream.last_seq 3
// and json checks[check=wake].state ok. The last argument is a regular expression for the whole value. With ! the value
// must be missing or not match.
func JSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json path regexp")
	}
	var root any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &root); err != nil {
		ts.Fatalf("standard output is not JSON: %v\n%s", err, ts.ReadFile("stdout"))
	}
	value, err := find(root, args[0])
	text := fmt.Sprint(value)
	if value == nil && err == nil {
		text = "null"
	} else if _, plain := value.(string); !plain && err == nil {
		encoded, _ := json.Marshal(value)
		text = string(encoded)
	}
	matches := err == nil && regexp.MustCompile(`^(?s:`+args[1]+`)$`).MatchString(text)
	if matches == neg {
		ts.Fatalf("%s is %s (%v), want %q", args[0], text, err, args[1])
	}
}

var step = regexp.MustCompile(`([^.\[\]]*)(\[[^\]]*\])?(\.|$)`)

// find follows a path of names, indexes [0] and filters [name=value].
func find(at any, path string) (any, error) {
	for _, m := range step.FindAllStringSubmatch(path, -1) {
		name, filter := m[1], strings.Trim(m[2], "[]")
		if name != "" {
			object, ok := at.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("no object at %q", m[0])
			}
			if at, ok = object[name]; !ok {
				return nil, fmt.Errorf("no %q", name)
			}
		}
		if filter != "" {
			list, ok := at.([]any)
			if !ok {
				return nil, fmt.Errorf("no list at %q", m[0])
			}
			i := slices.IndexFunc(list, func(item any) bool {
				object, _ := item.(map[string]any)
				name, value, _ := strings.Cut(filter, "=")
				return object != nil && fmt.Sprint(object[name]) == value
			})
			if n, err := strconv.Atoi(filter); err == nil {
				i = n
			}
			if i < 0 || i >= len(list) {
				return nil, fmt.Errorf("nothing at %q", m[0])
			}
			at = list[i]
		}
	}
	return at, nil
}
