package rules_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each rule file named bad_… is rejected with the error in the file of the same name; the others are accepted.
func TestRuleFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../testdata/rules/*.yaml")
	fatal(t, err)
	if len(files) < 30 {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			fatal(t, err)
			_, err = rules.Parse(filepath.Base(file), data)
			if !strings.HasPrefix(filepath.Base(file), "bad_") {
				fatal(t, err)
				return
			}
			if err == nil {
				t.Fatal("Parse accepted the file")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".err", err.Error()+"\n")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		fatal(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is missing, run with -update; got:\n%s", file, got)
	}
	fatal(t, err)
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// Files at and beyond the limits, which would be too long for golden files.
func TestRuleFileLimits(t *testing.T) {
	t.Parallel()
	rule := "  - {subject: users.*.updated, keys: [\"user:$1\"]}\n"
	for _, c := range []struct{ name, text, want string }{
		{"most rules", "rules:\n" + strings.Repeat(rule, rules.MaxRules), ""},
		{"too many rules", "rules:\n" + strings.Repeat(rule, rules.MaxRules+1), "f: 1001 rules in the file; want at most 1000"},
		{"too large", "#" + strings.Repeat("x", rules.MaxRuleFile), "f: file of 1048577 bytes; want at most 1048576"},
		{"not UTF-8", "rules: \xff", "f: invalid UTF-8 in the file; save it as UTF-8"},
		{"deep flow", strings.Repeat("[", rules.MaxRuleFile), "nesting too deep; want at most 32 levels"},
		{"deep map", strings.Repeat("{a: ", rules.MaxRuleFile/4), "nesting too deep; want at most 32 levels"},
		{"deep block", strings.Repeat("- ", rules.MaxRuleFile/2), "nesting too deep; want at most 32 levels"},
		{"deep keys", strings.Repeat("? ", rules.MaxRuleFile/2), "nesting too deep; want at most 32 levels"},
		{"longest key", "rules: [{subject: a, keys: [" + strings.Repeat("k", rules.MaxKey) + "]}]", ""},
		{"too long key", "rules: [{subject: a, keys: [" + strings.Repeat("k", rules.MaxKey+1) + "]}]", "key of 1025 bytes; want at most 1024"},
		{"too long subject", "rules: [{subject: " + strings.Repeat("a", 1025) + ", keys: [k]}]", "subject of 1025 bytes; want at most 1024"},
		{"most subjects", "rules: [{subject: [" + subjects(rules.MaxSubjects) + "], keys: [k]}]", ""},
		{"too many subjects", "rules:\n  - {subject: [" + subjects(600) + "], keys: [k]}\n  - {subject: [" + subjects(401) + "], keys: [k]}", "f:3:15: too many subjects in the file; want at most 1000"},
		{"most tags", "rules: [{subject: a, keys: [" + subjects(rules.MaxRuleKeys) + "], tags: [" + subjects(rules.MaxRuleKeys) + "]}]", ""},
		{"too many keys and tags", "rules: [{subject: a, prefix: [" + subjects(6) + "], keys: [" + subjects(100) + "], tags: [" + subjects(67) + "]}]", "1002 keys and tags in the rule, prefixes included; want at most 1000"},
		{"too many prefixes", "rules: [{subject: a, keys: [k], prefix: [" + strings.Repeat("p,", 101) + "]}]", "101 prefixes in the rule; want at most 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := rules.Parse("f", []byte(c.text))
			if c.want == "" {
				fatal(t, err)
			} else if err == nil {
				t.Error("no error")
			} else {
				contains(t, "error", err.Error(), c.want)
			}
		})
	}
}

func subjects(n int) string { return "s" + strings.ReplaceAll(upTo(n), ",", ", s") }

func TestSubjects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ rules, want string }{
		{"users.*.updated", "[users.*.updated]"},
		{"users.*.updated users.*.updated", "[users.*.updated]"},
		{"users.*.updated orders.>", "[users.*.updated orders.>]"},
		{"users.*.updated users.>", "[users.>]"},
		{"users.> users.*.updated orders.*", "[users.> orders.*]"},
		{"users.42.updated users.*.updated users.*.*", "[users.*.*]"},
		{"a.> a", "[a.> a]"},
		{"a.> a.*.>", "[a.>]"},
		{"a.*.> a.>", "[a.>]"},
		{"> users.*", "[>]"},
		{"*.updated users.*", "[]"}, // both match users.updated, and neither covers the other
		{"users.*.updated users.42.>", "[]"},
		{"*.* *", "[*.* *]"},
		{"*.> a", "[*.> a]"},
		{"*.> >", "[>]"},
	} {
		var text strings.Builder
		text.WriteString("rules:\n")
		for subject := range strings.FieldsSeq(c.rules) {
			fmt.Fprintf(&text, "  - {subject: %q, keys: [k]}\n", subject)
		}
		same(t, c.rules, parse(t, text.String()).Subjects(), c.want)
	}
}
