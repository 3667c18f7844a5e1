package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// maxSecretFile bounds a file that holds one password, token or key.
const maxSecretFile = 64 << 10

// secret is what the file of a setting holds, without the newline at its end; empty if the setting is. It is read
// when it is needed, and hidden from then on wherever it would be printed. Errors name setting and file.
func (s settings) secret(key string) (string, error) {
	path := s.text(key)
	if path == "" {
		return "", nil
	}
	data, err := readAtMost(path, maxSecretFile)
	if err != nil {
		return "", usagef(nil, "%s: %w", s.origin(key).from, err)
	}
	s.warnOfMode(key)
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case value == "":
		return "", usagef(nil, "%s: %s is empty", s.origin(key).from, path)
	case strings.ContainsFunc(value, unicode.IsControl):
		return "", usagef(nil, "%s: %s holds more than one line, or control characters", s.origin(key).from, path)
	}
	hide(value)
	return value, nil
}

// warnOfMode says that every account of the machine can read a secret. Its group may: that is how orchestrators hand
// files to a process that is not root.
func (s settings) warnOfMode(key string) {
	const others = 0o007
	if info, err := os.Stat(s.text(key)); err == nil && info.Mode().Perm()&others != 0 {
		s.log.Warn("everybody on this machine can reach a secret file; run: chmod o= on it", "setting", key, "file", s.text(key), "mode", info.Mode().Perm().String())
	}
}

// readAtMost reads a file that may be longer than anyone wants to hold.
func readAtMost(path string, most int64) ([]byte, error) {
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
