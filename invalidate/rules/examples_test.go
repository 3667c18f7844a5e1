package rules_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// Each file of examples named bad_… is rejected with the error in the file of the same name; the others hold for the rules
// of the same name.
func TestExampleFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../testdata/rules/examples/*.yaml")
	fatal(t, err)
	if len(files) < 10 {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			fatal(t, err)
			list, err := rules.ParseExamples(filepath.Base(file), data)
			if strings.HasPrefix(filepath.Base(file), "bad_") {
				if err == nil {
					t.Fatal("ParseExamples accepted the file")
				}
				golden(t, strings.TrimSuffix(file, ".yaml")+".err", err.Error()+"\n")
				return
			}
			fatal(t, err)
			data, err = os.ReadFile(filepath.Join("../../testdata/rules", filepath.Base(file)))
			fatal(t, err)
			set := parse(t, string(data))
			for i := range list {
				if d := set.Check(&list[i]); !d.Holds() {
					t.Errorf("%s, %s: %+v", list[i].At, list[i].Name, d)
				}
			}
		})
	}
}

func TestExampleLimits(t *testing.T) {
	t.Parallel()
	many := "examples:\n" + strings.Repeat("  - {subject: a}\n", rules.MaxExamples)
	list, err := rules.ParseExamples("f", []byte(many))
	fatal(t, err)
	same(t, "examples", len(list), rules.MaxExamples)
	same(t, "the last", fmt.Sprint(list[rules.MaxExamples-1].Name, " ", list[rules.MaxExamples-1].At), "a f:10001:5")
	_, err = rules.ParseExamples("f", []byte(many+"  - {subject: a}\n"))
	same(t, "one more", err, "f: 10001 examples in the file; want at most 10000")
	_, err = rules.ParseExamples("f", []byte("#"+strings.Repeat("x", rules.MaxRuleFile)))
	same(t, "too large", err, "f: file of 1048577 bytes; want at most 1048576")
	_, err = rules.ParseExamples("f", []byte(strings.Repeat("[", 1000)))
	contains(t, "too deep", err.Error(), "nesting too deep; want at most 32 levels")
}

// A payload becomes JSON with its numbers as written; a text is used unchanged.
func TestExamplePayload(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ yaml, want string }{
		{`{id: 42, list: [1, 2.50, -3e7], on: true, none: null, x: off}`, `{"id":42,"list":[1,2.50,-3e7],"on":true,"none":null,"x":"off"}`},
		{`{a: 12345678901234567890123, b: "123", c: '1', d: -12345678901234567890123}`, `{"a":12345678901234567890123,"b":"123","c":"1","d":-12345678901234567890123}`},
		{`{a: 0x10, b: 1_000}`, `{"a":16,"b":1000}`},
		{`{"a b": {c: {}}, 1: [], true: x}`, `{"a b":{"c":{}},"1":[],"true":"x"}`},
		{`{a: "é\"\n"}`, `{"a":"é\"\n"}`},
		{`'{"id": 1}'`, `{"id": 1}`},
		{`no JSON`, `no JSON`},
		{`42`, `42`},
		{`12345678901234567890123`, `12345678901234567890123`},
		{`[a]`, `["a"]`},
		{`null`, ``},
		{"|\n      {\"id\":\n      1}", "{\"id\":\n1}\n"},
		{"\n      a: 1", `{"a":1}`},
		{"\n      a: 1\n      b:\n        - c\n        - d: |\n            x", `{"a":1,"b":["c",{"d":"x\n"}]}`},
	} {
		list, err := rules.ParseExamples("f", []byte("examples:\n  - subject: a\n    payload: "+c.yaml+"\n"))
		if err != nil {
			t.Errorf("%s: %v", c.yaml, err)
			continue
		}
		same(t, c.yaml, string(list[0].Event.Payload), c.want)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	set := parse(t, `rules: [{subject: a.*, keys: ["k:$1", all], tags: [all], headers: true}]`)
	for _, c := range []struct{ example, want string }{
		{`{subject: a.1, keys: [all, "k:1"], tags: [all]}`, "{[] [] [] [] }"},
		{`{subject: a.1, keys: [all, all, "k:1"], tags: [all]}`, "{[] [] [] [] }"},
		{`{subject: a.1}`, "{[] [all k:1] [] [all] }"},
		{`{subject: a.1, keys: ["k:2", all], tags: [b, all, a, a]}`, "{[k:2] [k:1] [a b] [] }"},
		{`{subject: b}`, "{[] [] [] [] }"},
		{`{subject: b, poison: true}`, "{[] [] [] [] the event is not poison, but the example expects it to be}"},
		{`{subject: a.1, keys: [all, "k:1"], tags: [all], headers: {Cache-Tags: "["}, poison: true}`, "{[] [] [] [] }"},
	} {
		list, err := rules.ParseExamples("f", []byte("examples: ["+c.example+"]"))
		fatal(t, err)
		d := set.Check(&list[0])
		same(t, c.example, d, c.want)
		same(t, c.example+" holds", d.Holds(), c.want == "{[] [] [] [] }")
	}
}
