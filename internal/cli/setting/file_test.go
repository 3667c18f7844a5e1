package setting

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

// A settings file is refused with the position of each mistake, or every value in it is valid.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "# nothing\n", "stream: A\nschema: b\n", "relay:\n  subjects: [users.>, orders.>]\n  batch: 17\n  no_create: true\n",
		"relay: {grace: 10s, listen: \":9464\"}\ninvalidate:\n  rules: |\n    rules.yaml\n", "database_url: postgres://app:${PW}@h/x\n", "database_url: ${NONE}\n", "stream: ${PW\n",
		"stream: A\nstream: B\n", "strea: A\n", "stream: {a: b}\n", "relay: [a]\n", "- a\n", "a\n", "stream: A\n---\nstream: B\n", "stream: &a A\nschema: *a\n", "<<: {stream: A}\n",
		"stream: !!str A\n", "%YAML 1.2\n---\nstream: A\n", "stream: \"a\n", "stream: 'a\n", "\tstream: a\n", "relay:\n\tbatch: 1\n", "stream:\n", "stream: ~\n", "relay:\n  batch: 0x10\n",
		"relay:\n  batch: 1e3\n", "relay:\n  grace: -1s\n", "insecure: yes\n", "insecure: true\n", "? stream\n: A\n", "stream: >\n  a\n  b\n", "stream: [[a]]\n", "[[[[[[[[[[[[[[[[[[[[", "nats_inbox: a..b\n",
		"relay: {batch: ${PW}}\n", "\xff\xfe", "stream: \"\\x00\"\n", "stream: A\r\nschema: b\r\n", "\ufeffstream: A\n", "1: 2\n", "true: A\n", "\"stream\": A\n",
	} {
		f.Add([]byte(seed))
	}
	place := regexp.MustCompile(`^f\.yaml:[1-9]\d*:\d+: `)
	lookup := func(name string) (string, bool) { return "cAnAry7391", name == "PW" }
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := parseFile("f.yaml", data, lookup)
		for i, err := range each(err) {
			if !exit.IsUsage(err) && i < maxFlaws {
				t.Errorf("not a usage error: %v", err)
			}
			if !place.MatchString(err.Error()) && !strings.Contains(err.Error(), "in UTF-8") && i < maxFlaws {
				t.Errorf("no position: %v", err)
			}
		}
		for key, o := range values {
			if o.Setting.Key() != key || !strings.HasPrefix(o.From, "file f.yaml:") {
				t.Errorf("%s is %s, from %s", key, o.Setting.Key(), o.From)
			}
			if o.Setting.Check(o.Value) != nil {
				t.Errorf("%s: %q is accepted", key, o.Value)
			}
		}
	})
}

// The size is bounded before anything is read or parsed, and so is the depth.
func TestFileLimits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f.yaml")
	for content, want := range map[string]string{
		strings.Repeat("#", maxFile):                     "",
		strings.Repeat("#", maxFile+1):                   "has more than 131072 bytes",
		"stream: " + strings.Repeat("[", maxFile-8):      "nested too deeply",
		"stream: " + strings.Repeat("{a: ", maxFile/4-2): "nested too deeply",
		strings.Repeat("- ", maxFile/2):                  "nested too deeply",
		strings.Repeat("? ", maxFile/2):                  "nested too deeply",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadFile(path, os.LookupEnv)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s…: %v, want %q", content, err, want)
		}
	}
	if _, err := ReadFile("/dev/zero", os.LookupEnv); err == nil || !strings.Contains(err.Error(), "has more than") {
		t.Errorf("endless file: %v", err)
	}
}
