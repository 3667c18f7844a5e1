package setting

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

func secretFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretFile(t *testing.T) {
	for content, want := range map[string]string{
		"pw": "pw", "pw\n": "pw", "pw\r\n": "pw", " p w \n": " p w ", "": "is empty", "\n": "is empty", "pw\n\n": "one line without control characters",
		"a\nb": "one line without control characters", "a\x00": "control characters", strings.Repeat("x", maxSecretFile+1): "has more than 65536 bytes",
	} {
		path := secretFile(t, content, 0o600)
		s := with("redis_password_file", path)
		got, err := s.Secret("redis_password_file")
		if err != nil {
			got = err.Error()
			if exit.Code(err) != exit.Usage || !strings.HasPrefix(got, "flag --redis-password-file: ") || !strings.Contains(got, path) {
				t.Errorf("%q: %v", content, err)
			}
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%q is %q, want %q", content, got, want)
		}
	}
	if _, err := with("redis_password_file", "/nowhere/x").Secret("redis_password_file"); exit.Code(err) != exit.Usage || !strings.Contains(err.Error(), "/nowhere/x") {
		t.Errorf("no file: %v", err)
	}
}

// with is the defaults with one setting changed.
func with(key, value string) *Set {
	s := Defaults()
	s.Override(key, value, "flag --"+s.Origin(key).Setting.Name())
	return s
}
