package setting

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
)

// maxSecretFile bounds, in bytes, a file that contains one password, token or key.
const maxSecretFile = 64 << 10

// Secret reads the file that a setting names and returns its content without the final newline, or an empty text if the
// setting is empty. From then on package redact removes the content from all output. It warns if every account of the
// machine can read the file. Errors are usage errors that name the setting and the file.
func (s *Set) Secret(key string) (string, error) {
	path := s.Text(key)
	if path == "" {
		return "", nil
	}
	data, err := ReadAtMost(path, maxSecretFile)
	if err != nil {
		return "", exit.Usagef(nil, "%s: %w", s.Origin(key).From, err)
	}
	s.WarnOfMode(key)
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case value == "":
		return "", exit.Usagef(nil, "%s: want a secret, %s is empty", s.Origin(key).From, path)
	case strings.ContainsFunc(value, unicode.IsControl):
		return "", exit.Usagef(nil, "%s: want one line without control characters in %s", s.Origin(key).From, path)
	}
	redact.Hide(value)
	return value, nil
}

// WarnOfMode logs a warning if every account of the machine can read the file that a setting names. Its group may read
// it: orchestrators hand files to a process that is not root that way.
func (s *Set) WarnOfMode(key string) {
	const others = 0o007
	if info, err := os.Stat(s.Text(key)); err == nil && info.Mode().Perm()&others != 0 {
		s.Log.Warn("every user of this machine can access a secret file; run: chmod o= on it", "setting", key, "file", s.Text(key), "mode", info.Mode().Perm().String())
	}
}

// readAtMost reads a file that may be longer than anyone wants to hold.
func ReadAtMost(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return data, nil
}
